"""How far clocks differ, at least: an effect that was logged before its cause shows it.

Clocks are those of processes; a bot has its runner's. The gateway's counts as right; whoever is
further from it in the course of a join is moved, by no more than what its own session proves.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from cordboard.logs.session import Step
from cordboard.logs.timespec import seconds

_LEAST_S: Final = 0.005
_ROUNDS_MAX: Final = 8

_DISTANCE: Final = {
    "gateway": 0, "interface": 1, "operator": 1, "browser": 2, "runner": 2,
}  # fmt: skip

_CAUSES: Final = (
    ("join.clicked", "join.requested"),
    ("join.requested", "join.received"),
    ("join.received", "launch.claimed"),
    ("launch.claimed", "start.received"),
    ("start.received", "launch.assigned"),
)
"""What cannot have been said before what; both of one session and epoch."""


class Skew(NamedTuple):
    """A clock that differs from the gateway's.

    Attributes:
        boot: The process whose clock it is.
        service: What it is.
        seconds: What has to be added to its times, at least.
        cause: The event that proves it, and its effect.
        effect: The event that was logged before its cause.
    """

    boot: str
    service: str
    seconds: float
    cause: str
    effect: str

    def __str__(self) -> str:
        way = "behind" if self.seconds > 0 else "ahead"
        return (
            f"The clock of {self.service} (boot {self.boot}) is at least {abs(self.seconds):.3f} s "
            f"{way}: {self.effect} was logged before its cause, {self.cause}; --fix-skew corrects it."
        )


def skews(steps: Sequence[Step]) -> list[Skew]:
    """Return the clocks of a session's processes that differ, as its events `steps` prove."""
    found: dict[str, Skew] = {}
    pairs = list(_pairs(steps))
    for _ in range(_ROUNDS_MAX):
        moved = [_correct(cause, effect, found) for cause, effect in pairs]
        if not any(moved):
            break
    return [skew for skew in found.values() if abs(skew.seconds) >= _LEAST_S]


def corrections(steps: Sequence[Step]) -> dict[str, float]:
    """Return the seconds that have to be added to each process's times, a bot's being its runner's.

    Args:
        steps: The events of the session.
    """
    found = {skew.boot: skew.seconds for skew in skews(steps)}
    runners = {step.epoch: step.boot for step in steps if step.event == "start.received"}
    for step in steps:
        runner = runners.get(step.epoch)
        if step.service == "bot" and runner in found:
            found[step.boot] = found[runner]
    return found


def _correct(cause: Step, effect: Step, found: dict[str, Skew]) -> bool:
    """Move one of two clocks where their times contradict each other; say whether it was needed."""
    wrong = _time(cause, found) - _time(effect, found)
    if wrong <= 0:
        return False
    moves_effect = _DISTANCE.get(effect.service, 9) >= _DISTANCE.get(cause.service, 9)
    moved, by = (effect, wrong) if moves_effect else (cause, -wrong)
    before = found[moved.boot].seconds if moved.boot in found else 0.0
    found[moved.boot] = Skew(moved.boot, moved.service, before + by, cause.event, effect.event)
    return True


def _time(step: Step, found: dict[str, Skew]) -> float:
    skew = found.get(step.boot)
    return seconds(step.at) + (skew.seconds if skew else 0.0)


def _pairs(steps: Iterable[Step]) -> Iterator[tuple[Step, Step]]:
    """Yield each cause with its effect: the first of their names in each epoch."""
    first: dict[tuple[str, int | None], Step] = {}
    for step in steps:
        first.setdefault((step.event, step.epoch), step)
        first.setdefault((step.event, None), step)
    for cause, effect in _CAUSES:
        for (event, epoch), step in first.items():
            before = first.get((cause, epoch)) or first.get((cause, None))
            if event == effect and before is not None and before.boot != step.boot:
                yield before, step
