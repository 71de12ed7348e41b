"""The attempts of a session: who held it under which epoch, and how that ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from cordboard.logs.report.entry import Entry, number
from cordboard.logs.report.units import length
from cordboard.logs.report.visible import as_text
from cordboard.logs.takeovers import RECOVERED, TakeOver, take_overs


@dataclass(slots=True)
class Attempt:
    """One grant of the room.

    Attributes:
        epoch: The number of the grant.
        runner: Who was asked to host it, as its lines name it.
        outcome: How it ended, in words; empty where no line tells.
        failed: Whether it came to no good end.
    """

    epoch: int
    began_us: int | None = None
    ended_us: int | None = None
    runner: str = ""
    pid: str = ""
    operator: str = ""
    started: bool = False
    outcome: str = ""
    failed: bool = False
    number: str = ""
    facts: list[str] = field(default_factory=list)


_NAMES: Final = (("runner", "runner"), ("job", "runner"), ("pid", "pid"), ("operator", "operator"))


def attempts(events: Sequence[Entry]) -> tuple[Attempt, ...]:
    """Return the attempts by epoch; ``events`` are in time order."""
    found: dict[int, Attempt] = {}
    for item in events:
        if item.epoch is None or item.event is None:
            continue
        attempt = found.setdefault(item.epoch, Attempt(item.epoch, item.us))
        _note(attempt, item)
    for taken in take_overs(events):
        _note_end(taken, found)
    return tuple(found[epoch] for epoch in sorted(found))


def _note_end(taken: TakeOver, found: Mapping[int, Attempt]) -> None:
    """Note at the attempt before a take-over how it ended, if its own lines do not tell."""
    before = max((epoch for epoch in found if epoch < taken.epoch), default=None)
    if before is not None and not found[before].outcome and taken.died != "edge":
        found[before].outcome, found[before].failed = taken.died_words, True
        found[before].ended_us = taken.us


def _note(attempt: Attempt, item: Entry) -> None:
    for key, name in _NAMES:
        # A recovery is logged under the new epoch, and names the runner that had the old one.
        if item.meta.get(key) and item.event != RECOVERED:
            setattr(attempt, name, as_text(item.meta[key]))
    if number(item.meta.get("attempt")) is not None:
        attempt.number = as_text(item.meta["attempt"])
    attempt.started |= item.event == "bot.started"
    words = _outcome(item)
    if words and not attempt.outcome:
        attempt.outcome, attempt.failed = words
        attempt.ended_us = item.us


def _outcome(item: Entry) -> tuple[str, bool] | None:
    meta = item.meta
    match item.event:
        case "launch.failed":
            return f"launch failed: {as_text(meta.get('why', item.message))}", True
        case "lease.expired":
            overdue = number(meta.get("overdue_ms"))
            late = f", {length(overdue)} overdue" if overdue is not None else ""
            sign = f" (evidence: {as_text(meta['sign'])})" if meta.get("sign") else ""
            return f"lease expired{late}{sign}", True
        case "lease.lost":
            return "lease lost", True
        case "bot.crashed":
            return f"crashed: {item.error or as_text(meta.get('status', item.message))}", True
        case "session.ended":
            reason = as_text(meta.get("reason") or "")
            return f"ended: {reason or item.message}", meta.get("state") in {"failed", "expired"}
    return None
