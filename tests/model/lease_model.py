"""The lease protocol as a state machine, and a checker that visits every reachable state.

There is one room, one session, two runners, an operator, Redis, and time in units of a lease. Only the order
of the periods matters, not their length: LEASE < TOLERANCE < SILENCE. Each step is one decision of a script
or of a process; ``docs/reliability.md`` names the code of each step. A runner and its bot may freeze
together, in which case they do not act, and a renewal may be in progress when they freeze. When a runner
dies, its bot dies a moment later, before time passes. A bot may speak whenever it is not frozen and its
lease guard lets it.

An operator may look at a session at any moment: after its lease, when a watch connection closes, or after a
hint of whoever saw a peer break. Hints are no state of the model, because they decide nothing.

The guarantees: no two bots speak in one room at the same time; no holder renews a lease that it has lost; no
holder hands over a session that it has lost; no session whose bot has ended runs again while its runner can
report the end; no session that its runner is handing over is ended.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

LEASE: Final = 1
TOLERANCE: Final = 2
SILENCE: Final = 3
EPOCHS: Final = 2
_AGE_MAX: Final = SILENCE + 1  # a greater age makes no difference


@dataclass(frozen=True)
class Rules:
    """The rules that the code follows. A test switches one off and must then find a broken guarantee."""

    fenced_running: bool = True
    """``running.lua`` refuses a lower epoch."""
    fenced_renewal: bool = True
    """``renew.lua`` refuses a lower epoch."""
    asks_after_a_pause: bool = True
    """``LeaseGuard.wait_for_lease``: after a pause the bot waits until its lease is known to be held."""
    stops_by_itself: bool = True
    """``LeaseGuard._poll``, ``Heartbeat._kill_unrenewed``: TOLERANCE without a renewal ends the bot."""
    counts_from_before: bool = True
    """``Heartbeat._renew``: TOLERANCE counts from before the renewal was sent."""
    waits_for_silence: bool = True
    """``plan.decide``: a suspect without a confirmed death is recovered only after SILENCE."""
    reports_its_end: bool = True
    """``SessionRunners.status``: a runner that could not write an end reports it to the operator."""
    tells_a_hand_over: bool = True
    """``SessionRunners.status``: a runner that has not written a hand-over yet does not report an end."""
    confirms_before_the_lease_ends: bool = True
    """``plan.decide_early``: a closed connection or a hint alone recovers nothing before the lease's end."""
    waits_after_a_death: bool = True
    """``DeathCheck._act``, ``Sweeper._check_suspects``: a session is recovered only when the bots of its dead runner must be gone."""
    stops_before_it_hands_over: bool = True
    """``BotSession``: a runner hands a session over when its bot process is gone."""
    fenced_hand_over: bool = True
    """``recover.lua``: a hand-over by a runner with a lower epoch is refused."""


@dataclass(frozen=True)
class Runner:
    """A runner and its bot, which freeze and die together.

    Attributes:
        epoch: The epoch of its session; 0 if it has none.
        age: Time since the start of its last renewal, by its own clock.
        speaks: Its bot has entered the room.
        frozen: It does not act.
        must_ask: It was frozen so long that it may have lost its lease.
        sent: Time since it sent a renewal whose reply has not arrived; -1 if there is none.
        cut: Its messages reach neither Redis nor an operator.
        reply: The reply of Redis to the renewal, which has not arrived; empty before the decision.
        over: Its bot has ended by itself, and Redis has not accepted the end yet.
        leaving: It hands its session over: it drains, or its bot process was killed.
        dead: It is dead and its port refuses, but its bot has not died yet.
    """

    epoch: int = 0
    age: int = 0
    speaks: bool = False
    frozen: bool = False
    must_ask: bool = False
    sent: int = -1
    reply: str = ""
    cut: bool = False
    over: bool = False
    leaving: bool = False
    dead: bool = False


@dataclass(frozen=True)
class World:
    """The state of Redis and of both runners.

    Attributes:
        epoch: The epoch of the room.
        state: The state of the session.
        lease: Time since Redis granted or renewed the lease.
        wrong: A holder with a lower epoch than the room's has renewed a lease or handed the session over, a
            session was recovered although its runner could have reported the end, or it was ended although its
            runner was handing it over.
    """

    epoch: int = 1
    state: str = "queued"
    lease: int = 0
    wrong: bool = False
    runners: tuple[Runner, ...] = (Runner(), Runner())


def speaking(world: World) -> int:
    """Return the number of bots that may speak now."""
    return sum(r.speaks and not r.frozen and not r.must_ask for r in world.runners)


def steps(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    """Yield the name and the result of every step that can happen next."""
    for i, runner in enumerate(world.runners):
        yield from _runner_steps(world, rules, i, runner)
    yield from _operator_steps(world, rules)
    if not any(_must_act(runner, rules) for runner in world.runners):
        yield "time", _later(world)


def _must_act(runner: Runner, rules: Rules) -> bool:
    """Return whether a due step must happen before time passes, as no process that runs delays it."""
    if runner.dead:  # the kernel kills its bot, even a frozen one
        return True
    if not rules.stops_by_itself or runner.frozen or not runner.speaks:
        return False
    return runner.age >= TOLERANCE


def _later(world: World) -> World:
    runners = tuple(
        replace(
            r,
            age=min(r.age + 1, _AGE_MAX) if r.speaks else 0,
            sent=min(r.sent + 1, _AGE_MAX) if r.sent >= 0 else -1,
        )
        for r in world.runners
    )
    return replace(world, lease=min(world.lease + 1, _AGE_MAX), runners=runners)


def _with(world: World, i: int, runner: Runner, **more: object) -> World:
    runners = (*world.runners[:i], runner, *world.runners[i + 1 :])
    return replace(world, runners=runners, **more)  # type: ignore[arg-type]


def _runner_steps(world: World, rules: Rules, i: int, r: Runner) -> Iterator[tuple[str, World]]:
    if r.sent >= 0 and not r.reply and not r.cut:  # Redis decides even if the sender is gone
        held = world.state == "running" and (r.epoch == world.epoch or not rules.fenced_renewal)
        decided = replace(r, reply="held" if held else "lost")
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
    if r.dead:
        yield f"bot gone {i}", _with(world, i, Runner())
        return
    if r.frozen:
        pause = r.age >= LEASE and rules.asks_after_a_pause
        yield f"thaw {i}", _with(world, i, replace(r, frozen=False, must_ask=r.must_ask or pause))
        return
    if not r.epoch:
        return
    yield f"die {i}", _with(world, i, replace(r, dead=True) if r.speaks else Runner())
    yield f"freeze {i}", _with(world, i, replace(r, frozen=True))
    yield f"{'heal' if r.cut else 'cut'} {i}", _with(world, i, replace(r, cut=not r.cut))
    if r.speaks:
        yield from _bot_steps(world, rules, i, r)
    elif not r.cut:
        if r.over:
            yield _end_step(world, i, r)
        elif r.leaving:
            yield from _hand_over_steps(world, rules, i, r)
        else:
            yield _enter_steps(world, rules, i, r)


def _bot_steps(world: World, rules: Rules, i: int, r: Runner) -> Iterator[tuple[str, World]]:
    if world.state == "running":
        yield f"end not written {i}", _with(world, i, Runner(r.epoch, cut=r.cut, over=True))
    if not r.leaving and rules.stops_before_it_hands_over:
        yield f"leave {i}", _with(world, i, Runner(r.epoch, cut=r.cut, leaving=True))
    elif not r.leaving:
        yield f"leave {i}", _with(world, i, replace(r, leaving=True))
    elif not r.cut:
        yield from _hand_over_steps(world, rules, i, r)
    if rules.stops_by_itself and r.age >= TOLERANCE:
        yield f"stop {i}", _with(world, i, Runner())
    elif r.reply and not r.cut:
        yield from _reply_steps(world, rules, i, r)
    elif r.sent < 0 and not r.cut:
        yield f"send {i}", _with(world, i, replace(r, sent=0))


def _end_step(world: World, i: int, r: Runner) -> tuple[str, World]:
    """Write the end that was not written before, by ``finish.lua``."""
    ours = world.state == "running" and r.epoch == world.epoch
    return f"end {i}", _with(world, i, Runner(), state="ended" if ours else world.state)


def _hand_over_steps(world: World, rules: Rules, i: int, r: Runner) -> Iterator[tuple[str, World]]:
    """Queue the session again, by ``recover.lua`` with the cause of its own holder."""
    after = replace(r, leaving=False) if r.speaks else Runner()  # it speaks only without the rule
    ours = world.state == "running" and r.epoch == world.epoch
    if not ours and rules.fenced_hand_over:
        yield f"hand-over refused {i}", _with(world, i, after)
    elif world.epoch < EPOCHS or not ours:
        yield (
            f"hand over {i}",
            _with(
                world,
                i,
                after,
                epoch=world.epoch + 1,
                state="queued",
                lease=0,
                wrong=world.wrong or (world.state == "running" and not ours),
            ),
        )


def _enter_steps(world: World, rules: Rules, i: int, r: Runner) -> tuple[str, World]:
    """Confirm the bot, by ``running.lua``."""
    fits = world.state == "starting" and r.epoch == world.epoch
    if fits or not rules.fenced_running:
        return f"running {i}", _with(
            world, i, replace(r, speaks=True, age=0), state="running", lease=0
        )
    return f"refused {i}", _with(world, i, Runner())


def _reply_steps(world: World, rules: Rules, i: int, r: Runner) -> Iterator[tuple[str, World]]:
    """Apply the reply to a renewal, in ``Heartbeat._apply``, or lose it."""
    idle = replace(r, sent=-1, reply="")
    yield f"reply lost {i}", _with(world, i, idle)
    if r.reply == "lost":
        yield f"lost {i}", _with(world, i, Runner())
        return
    age = r.sent if rules.counts_from_before else 0
    yield (
        f"held {i}",
        _with(world, i, replace(idle, age=age, must_ask=r.must_ask and age >= LEASE)),
    )


def _operator_steps(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    if world.state == "queued":
        for i, runner in enumerate(world.runners):
            if not runner.epoch and not runner.frozen:
                given = Runner(epoch=world.epoch)
                yield f"assign {i}", _with(world, i, given, state="starting", lease=0)
        return
    if world.state == "ended" or world.epoch >= EPOCHS:
        return
    is_overdue = world.lease >= LEASE
    # Before the lease's end an operator looks only at running sessions: the hand-over of one that
    # starts may still be under way.
    if is_overdue or world.state == "running":
        yield from _look(world, rules, is_overdue=is_overdue)


def _look(world: World, rules: Rules, *, is_overdue: bool) -> Iterator[tuple[str, World]]:
    """Ask the holder, and decide: ``plan.decide`` after the lease's end, ``plan.decide_early`` before."""
    holders = [r for r in world.runners if r.epoch == world.epoch and _is_holder(r)]
    is_reported = any(r.over and not r.frozen and not r.cut for r in holders)
    if is_reported:
        after = "ended" if rules.reports_its_end else "queued"
        raised = world.epoch + (after == "queued")
        yield (
            "end reported",
            replace(world, epoch=raised, state=after, lease=0, wrong=after == "queued"),
        )
    is_handed_over = any(r.epoch == world.epoch and _replies_no(r) for r in world.runners)
    if is_handed_over and not rules.tells_a_hand_over:
        yield "hand-over taken for an end", replace(world, state="ended", lease=0, wrong=True)
    is_confirmed = not holders
    # The operator's wait is longer than a bot takes to die with its runner.
    is_bot_gone = not any(r.dead for r in world.runners) or not rules.waits_after_a_death
    is_silent = any(r.frozen or r.cut for r in holders) and world.lease >= SILENCE
    if is_overdue:
        may_recover = is_confirmed or is_silent or not rules.waits_for_silence
    else:
        may_recover = is_confirmed or not rules.confirms_before_the_lease_ends
    if may_recover and is_bot_gone:
        yield "recover", replace(world, epoch=world.epoch + 1, state="queued", lease=0)


def _is_holder(r: Runner) -> bool:
    """Return whether an operator that asks cannot exclude that the runner holds its session.

    The port of a dead runner refuses the connection. A runner that hands the session over replies that it does
    not hold it, unless it cannot be reached.
    """
    return not r.dead and not _replies_no(r)


def _replies_no(r: Runner) -> bool:
    """Return whether the runner hands its session over, and can say so."""
    return r.leaving and not r.speaks and not (r.dead or r.cut or r.frozen)


def check(rules: Rules) -> tuple[int, list[str]]:
    """Visit every state; return their number, and the shortest way to a broken guarantee, if any."""
    start = World()
    previous: dict[World, tuple[World, str] | None] = {start: None}
    todo = deque([start])
    while todo:
        world = todo.popleft()
        if speaking(world) > 1 or world.wrong:
            return len(previous), _way(previous, world)
        for name, following in steps(world, rules):
            if following not in previous:
                previous[following] = (world, name)
                todo.append(following)
    return len(previous), []


def _way(previous: dict[World, tuple[World, str] | None], world: World) -> list[str]:
    way = []
    while (step := previous[world]) is not None:
        world, name = step
        way.append(name)
    return way[::-1]
