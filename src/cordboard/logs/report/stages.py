"""The startup path: from the click to the bot's first audio, with the time of each stage."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from cordboard.contract.record import EVENTS
from cordboard.logs.report.entry import Entry
from cordboard.logs.report.visible import pairs

PATH: Final[dict[str, str]] = {
    "page.opened": "Page opened",
    "join.clicked": "Join clicked",
    "join.requested": "Join requested",
    "join.received": "Join received",
    "join.accepted": "Join accepted",
    "launch.claimed": "Launch claimed",
    "launch.job_created": "Cold runner started",
    "start.received": "Start received",
    "bot.forked": "Bot forked",
    "bot.started": "Bot started",
    "launch.assigned": "Session handed over",
    "bot.connected": "Bot connected",
    "user.connected": "User connected",
    "user.first_audio": "User's first audio",
    "bot.first_audio": "Bot's first audio",
}
"""The stages in the order in which a join passes them, with their names for people."""

SETBACKS: Final[dict[str, str]] = {
    "join.reused": "Join answered with a live session",
    "join.refused": "Join refused",
    "launch.failed": "Launch failed",
    "lease.lost": "Lease lost",
    "lease.expired": "Lease expired",
    "session.recovered": "Session queued again",
    "bot.crashed": "Bot crashed",
    "bot.finished": "Bot finished",
    "session.ended": "Session ended",
}
"""What else may happen on the way."""

ZERO: Final = ("join.clicked", "join.requested", "join.received", "join.accepted")
"""Time is counted from the first of these that is there."""

OPTIONAL: Final = frozenset({"page.opened", "user.first_audio"})
"""Left out where there is no line: a call needs neither for the bot's first audio."""

_RANK: Final = {event: rank for rank, event in enumerate(PATH)}
_FIRST_AUDIO: Final = "bot.first_audio"


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage.

    Attributes:
        ms: After the click (or what comes nearest to it); None where no line tells of it.
        step_ms: After the stage before.
        times: How often it was told.
        setback: Whether it is none that a good start passes.
        note: What its line says besides.
    """

    event: str
    label: str
    service: str = ""
    us: int | None = None
    ms: float | None = None
    step_ms: float | None = None
    epoch: int | None = None
    times: int = 1
    setback: bool = False
    note: str = ""
    index: int | None = None

    @property
    def meaning(self) -> str:
        """What the event means."""
        return EVENTS.get(self.event, "")


@dataclass(frozen=True, slots=True)
class Startup:
    """The way from click to first audio.

    Attributes:
        zero: The event from which time is counted; empty where none is known.
        total_ms: From there to the bot's first audio; None where no line tells of either.
    """

    stages: tuple[Stage, ...] = ()
    zero: str = ""
    total_ms: float | None = None

    @property
    def slowest(self) -> Stage | None:
        """The stage that took longest, from the click on."""
        steps = [item for item in self.stages if item.step_ms and (item.ms or 0) > 0]
        return max(steps, key=lambda item: item.step_ms or 0, default=None)


def startup(events: Sequence[Entry]) -> Startup:
    """Return the startup path of one stay; ``events`` are in time order."""
    reached = _reached(events)
    zero = next((item for name in ZERO for item in reached if item.event == name), None)
    if not reached:
        return Startup()
    origin = (zero or reached[0]).us
    timed = _timed(reached, origin)
    audio = next((item.ms for item in timed if item.event == _FIRST_AUDIO), None)
    return Startup(
        stages=tuple(_with_missing(timed)),
        zero=zero.event if zero else reached[0].event,
        total_ms=audio if zero else None,
    )


def _reached(events: Sequence[Entry]) -> list[Stage]:
    """Return what happened up to the first audio, once for each attempt."""
    found: dict[tuple[str, int | None], Stage] = {}
    for item in events:
        event = item.event or ""
        if (event not in PATH and event not in SETBACKS) or item.us is None:
            continue
        key = (event, item.epoch)
        if key in found:
            found[key] = replace(found[key], times=found[key].times + 1)
            continue
        found[key] = _stage(item, event)
        if event == _FIRST_AUDIO:
            break
    return list(found.values())


def _stage(item: Entry, event: str) -> Stage:
    return Stage(
        event=event,
        label=PATH.get(event) or SETBACKS[event],
        service=item.service,
        us=item.us,
        epoch=item.epoch,
        setback=event in SETBACKS,
        note=" ".join(filter(None, [pairs(item.meta), item.error])),
        index=item.index,
    )


def _timed(reached: Sequence[Stage], origin: int | None) -> list[Stage]:
    timed: list[Stage] = []
    before: int | None = None
    for item in reached:
        assert item.us is not None  # noqa: S101 - _reached leaves out what has no time
        ms = (item.us - (origin or 0)) / 1000
        step = None if before is None else (item.us - before) / 1000
        timed.append(replace(item, ms=ms, step_ms=step))
        before = item.us
    return timed


def _with_missing(timed: Sequence[Stage]) -> list[Stage]:
    """Put each stage of which no line tells before the first that comes after it."""
    there = {item.event for item in timed}
    wanted = [event for event in PATH if event not in there and not _needless(event, there)]
    rows: list[Stage] = []
    for item in timed:
        rank = _RANK.get(item.event)
        while wanted and rank is not None and _RANK[wanted[0]] < rank:
            rows.append(_missing(wanted.pop(0)))
        rows.append(item)
    return rows + [_missing(event) for event in wanted]


def _needless(event: str, there: set[str]) -> bool:
    """A warm start needs no cold runner, and the other way round."""
    other = {"launch.job_created": "launch.assigned", "launch.assigned": "launch.job_created"}
    return event in OPTIONAL or other.get(event) in there or event == "launch.job_created"


def _missing(event: str) -> Stage:
    return Stage(event=event, label=PATH[event])
