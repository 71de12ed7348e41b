"""The lease protocol as a small machine, for a checker that visits every state it can reach.

One room, one session, two runners, an operator, Redis, and time in units of a lease. What matters is
the order of the periods, not their size: LEASE < TOLERANCE < SILENCE.
Each step is one decision of a script or of a process, named in ``docs/reliability.md`` beside the
code that takes it. A runner and its bot may freeze together and thaw (all clocks but Redis's and
the fence's stand still for them: they cannot act); a renewal may be under way when they freeze. The
bot speaks at any time at which it is not frozen and its fence is open.

The promises: no two bots speak in one room at one moment; no lease is prolonged by who lost it; no
session whose bot has ended runs again while its runner can be asked.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

LEASE: Final = 1
TOLERANCE: Final = 2
SILENCE: Final = 3
EPOCHS: Final = 2
_LONG: Final = SILENCE + 1  # longer makes no difference


@dataclass(frozen=True)
class Rules:
    """What the code does; a test turns one off and must then find two bots."""

    fenced_running: bool = True
    """``running.lua`` refuses a lower epoch."""
    fenced_renewal: bool = True
    """``renew.lua`` refuses a lower epoch."""
    asks_after_a_pause: bool = True
    """``Fence.check``: after a pause the bot waits until its lease is known to be held."""
    stops_by_itself: bool = True
    """``Fence._watch``, ``Heartbeat._watch``: no renewal for TOLERANCE ends the bot."""
    counts_from_before: bool = True
    """``Heartbeat._renew``: TOLERANCE counts from before the renewal was sent."""
    waits_for_silence: bool = True
    """``plan.decide``: a suspect that nobody can confirm is given up after SILENCE only."""
    tells_its_end: bool = True
    """``SessionRunners.status``: a runner that could not write an end tells it to the operator that asks."""


@dataclass(frozen=True)
class Runner:
    """One runner and its bot, which freeze and die together.

    Attributes:
        epoch: The grant that it was given; 0 for none.
        age: Units since the time that it counts its last renewal from.
        speaks: Its bot has entered.
        frozen: It cannot act.
        must_ask: It stood still for so long that its lease may have gone.
        sent: Units since a renewal was sent whose answer has not come yet; -1 for none.
        cut: No message of its gets anywhere, neither to Redis nor to an operator.
        answer: What Redis has decided about it, on its way back; empty until then.
        over: Its bot has ended by itself, and Redis has not taken the write of it yet.
    """

    epoch: int = 0
    age: int = 0
    speaks: bool = False
    frozen: bool = False
    must_ask: bool = False
    sent: int = -1
    answer: str = ""
    cut: bool = False
    over: bool = False


@dataclass(frozen=True)
class World:
    """All that is.

    Attributes:
        lease: How long ago Redis granted or renewed it.
        wrong: A lease was prolonged by a lower epoch than the room's, or a session was handed on
            whose runner could have told that it had ended.
    """

    epoch: int = 1
    state: str = "queued"
    lease: int = 0
    wrong: bool = False
    runners: tuple[Runner, ...] = (Runner(), Runner())


def speaking(world: World) -> int:
    """How many bots may speak now."""
    return sum(r.speaks and not r.frozen and not r.must_ask for r in world.runners)


def steps(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    """Return everything that can happen next."""
    for i, runner in enumerate(world.runners):
        yield from _runner_steps(world, rules, i, runner)
    yield from _operator_steps(world, rules)
    if not any(_must_act(runner, rules) for runner in world.runners):
        yield "time", _later(world)


def _must_act(runner: Runner, rules: Rules) -> bool:
    """Time stands until a process that is not frozen has done what is due."""
    if not rules.stops_by_itself or runner.frozen or not runner.speaks:
        return False
    return runner.age >= TOLERANCE


def _later(world: World) -> World:
    runners = tuple(
        replace(
            r,
            age=min(r.age + 1, _LONG) if r.speaks else 0,
            sent=min(r.sent + 1, _LONG) if r.sent >= 0 else -1,
        )
        for r in world.runners
    )
    return replace(world, lease=min(world.lease + 1, _LONG), runners=runners)


def _with(world: World, i: int, runner: Runner, **more: object) -> World:
    runners = (*world.runners[:i], runner, *world.runners[i + 1 :])
    return replace(world, runners=runners, **more)  # type: ignore[arg-type]


def _runner_steps(world: World, rules: Rules, i: int, r: Runner) -> Iterator[tuple[str, World]]:
    if r.sent >= 0 and not r.answer and not r.cut:  # Redis decides, whatever became of its sender
        held = world.state == "running" and (r.epoch == world.epoch or not rules.fenced_renewal)
        decided = replace(r, answer="held" if held else "lost")
        yield (
            f"decide {i}",
            _with(
                world,
                i,
                decided,
                lease=0 if held else world.lease,
                wrong=world.wrong or (held and r.epoch != world.epoch),
            ),
        )
    if r.frozen:
        pause = r.age >= LEASE and rules.asks_after_a_pause
        yield f"thaw {i}", _with(world, i, replace(r, frozen=False, must_ask=r.must_ask or pause))
        return
    if not r.epoch:
        return
    yield f"die {i}", _with(world, i, Runner())
    yield f"freeze {i}", _with(world, i, replace(r, frozen=True))
    yield f"{'heal' if r.cut else 'cut'} {i}", _with(world, i, replace(r, cut=not r.cut))
    if r.speaks:
        yield from _bot_steps(world, rules, i, r)
    elif not r.cut:
        yield _written(world, i, r) if r.over else _enters(world, rules, i, r)


def _bot_steps(world: World, rules: Rules, i: int, r: Runner) -> Iterator[tuple[str, World]]:
    if world.state == "running":
        yield f"end not written {i}", _with(world, i, Runner(r.epoch, cut=r.cut, over=True))
    if rules.stops_by_itself and r.age >= TOLERANCE:
        yield f"stop {i}", _with(world, i, Runner())
    elif r.answer and not r.cut:
        yield from _answered(world, rules, i, r)
    elif r.sent < 0 and not r.cut:
        yield f"send {i}", _with(world, i, replace(r, sent=0))


def _written(world: World, i: int, r: Runner) -> tuple[str, World]:
    """``finish.lua``, tried again."""
    ours = world.state == "running" and r.epoch == world.epoch
    return f"end {i}", _with(world, i, Runner(), state="ended" if ours else world.state)


def _enters(world: World, rules: Rules, i: int, r: Runner) -> tuple[str, World]:
    """``running.lua``."""
    fits = world.state == "starting" and r.epoch == world.epoch
    if fits or not rules.fenced_running:
        return f"running {i}", _with(
            world, i, replace(r, speaks=True, age=0), state="running", lease=0
        )
    return f"refused {i}", _with(world, i, Runner())


def _answered(world: World, rules: Rules, i: int, r: Runner) -> Iterator[tuple[str, World]]:
    """``Heartbeat._obey``; or the answer is lost on its way."""
    nothing = replace(r, sent=-1, answer="")
    yield f"answer lost {i}", _with(world, i, nothing)
    if r.answer == "lost":
        yield f"lost {i}", _with(world, i, Runner())
        return
    age = r.sent if rules.counts_from_before else 0
    yield (
        f"held {i}",
        _with(world, i, replace(nothing, age=age, must_ask=r.must_ask and age >= LEASE)),
    )


def _operator_steps(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    if world.state == "queued":
        for i, runner in enumerate(world.runners):
            if not runner.epoch and not runner.frozen:
                given = Runner(epoch=world.epoch)
                yield f"assign {i}", _with(world, i, given, state="starting", lease=0)
        return
    if world.state == "ended" or world.lease < LEASE or world.epoch >= EPOCHS:
        return
    holders = [r for r in world.runners if r.epoch == world.epoch]
    tells = any(r.over and not r.frozen and not r.cut for r in holders)
    if tells:
        after = "ended" if rules.tells_its_end else "queued"
        raised = world.epoch + (after == "queued")
        yield (
            "told of the end",
            replace(world, epoch=raised, state=after, lease=0, wrong=after == "queued"),
        )
    confirmed = not holders  # it answers that it does not hold, or nothing listens there
    silent = any(r.frozen or r.cut for r in holders) and world.lease >= SILENCE
    if confirmed or silent or not rules.waits_for_silence:
        yield "recover", replace(world, epoch=world.epoch + 1, state="queued", lease=0)


def check(rules: Rules) -> tuple[int, list[str]]:
    """Visit every state; return how many there are, and the shortest way to a broken promise."""
    start = World()
    came: dict[World, tuple[World, str] | None] = {start: None}
    todo = deque([start])
    while todo:
        world = todo.popleft()
        if speaking(world) > 1 or world.wrong:
            return len(came), _way(came, world)
        for name, following in steps(world, rules):
            if following not in came:
                came[following] = (world, name)
                todo.append(following)
    return len(came), []


def _way(came: dict[World, tuple[World, str] | None], world: World) -> list[str]:
    way = []
    while (step := came[world]) is not None:
        world, name = step
        way.append(name)
    return way[::-1]
