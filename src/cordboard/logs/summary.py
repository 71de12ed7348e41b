"""The sessions of a window, as the log lines tell of them: who, where, how long, how it ended."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final, NamedTuple

from cordboard.contract.record import (
    EVENT,
    LEVEL,
    ROOM,
    SERVICE,
    USER_ID,
    USER_NAME,
)
from cordboard.logs.gaps import Hole
from cordboard.logs.line import Line
from cordboard.logs.session import BROWSER, SessionFacts, Step, silent, unclosed
from cordboard.logs.takeovers import TakeOver, take_overs
from cordboard.logs.timespec import seconds

_STATES: Final = {
    "join.refused": "refused",
    "join.accepted": "queued",
    "session.recovered": "queued",
    "launch.claimed": "queued",
    "launch.assigned": "starting",
    "launch.job_created": "starting",
    "start.received": "starting",
    "bot.started": "running",
}
_RANKS: Final = {"refused": 0, "queued": 1, "starting": 2, "running": 3}
_RANK_OF_ENDS: Final = 4
_COUNTED: Final = frozenset({"launch.claimed", "bot.started", "session.recovered"})


class _Fact(NamedTuple):
    """An event, as `take_overs` takes it."""

    us: int
    event: str
    epoch: int | None
    meta: Mapping[str, Any]


@dataclass(slots=True)
class Page:
    """What one person's pages told of a session.

    Attributes:
        lines: How many lines there are.
        errors: Those of them at error.
        name: Who, by name or else by id.
        room: Where.
    """

    lines: int = 0
    errors: int = 0
    name: str | None = None
    room: str | None = None


@dataclass(slots=True)
class SessionSummary:
    """One session.

    Attributes:
        facts: Its events and processes.
        user: Who, by name or else by id; all of them where different people joined under one id.
        people: Their ids and names.
        room: Where.
        state: The last one that was told; ``opened`` if only a page has used the id.
        reason: Why it ended.
        lines: Lines that are its own.
        errors: Those of them at error.
        missing: Lines that are missing, at most: of some it cannot be told whose they were.
        silent: Services that should have spoken of it and did not.
    """

    facts: SessionFacts
    user: str | None = None
    people: set[str] = field(default_factory=set)
    room: str | None = None
    state: str = ""
    reason: str = ""
    lines: int = 0
    errors: int = 0
    missing: int = 0
    silent: list[str] = field(default_factory=list)
    pages: dict[str, Page] = field(default_factory=dict)
    _reached: tuple[int, int] = (0, 0)

    def reach(self, state: str, epoch: int | None, reason: str = "") -> None:
        """Note that the session reached `state`, under the grant `epoch`, and at its end for what `reason`.

        Within one grant a state only advances: an operator logs a hand-over when the bot runs already.
        """
        grant = self._reached[0] if epoch is None else epoch
        reached = (grant, _RANKS.get(state, _RANK_OF_ENDS))
        if reached >= self._reached:
            self.state, self.reason, self._reached = state, reason, reached

    @property
    def seconds(self) -> float | None:
        """How long its bot was there; None where beginning or end is not told."""
        begin = next((s.at for s in self.facts.steps if s.event == "bot.started"), None)
        end = next((s.at for s in reversed(self.facts.steps) if s.event == "session.ended"), None)
        if begin is None or end is None:
            return None
        return round(max(0.0, seconds(end) - seconds(begin)), 3)

    @property
    def attempts(self) -> int | None:
        """The number of the last attempt; None where no line tells."""
        numbers = [step.meta.get("attempt") for step in self.facts.steps if step.event in _COUNTED]
        return max((n for n in numbers if type(n) is int), default=None)

    @property
    def take_overs(self) -> tuple[TakeOver, ...]:
        """Each time that another process continued it."""
        return take_overs(_fact(step) for step in self.facts.steps)

    def as_dict(self) -> dict[str, Any]:
        """Return it for a program."""
        return {
            "sessionId": self.facts.session,
            "state": self.state,
            "reason": self.reason or None,
            "room": self.room,
            "user": self.user,
            "first": self.facts.first.decode(),
            "last": self.facts.last.decode(),
            "seconds": self.seconds,
            "lines": self.lines,
            "errors": self.errors,
            "missing": self.missing,
            "silent": self.silent,
            "attempts": self.attempts,
            "takeOvers": [item.as_dict() for item in self.take_overs],
        }


def sessions_of(lines: Iterable[Line]) -> dict[str, SessionSummary]:
    """Return a summary of each session of which `lines` tell, by its id."""
    found: dict[str, SessionSummary] = {}
    for line in lines:
        if line.attribution in {"explicit", "inherited"}:
            session = str(line.record["sessionId"])
            entry = found.get(session) or found.setdefault(
                session, SessionSummary(SessionFacts(session))
            )
            _note(entry, line)
    for entry in found.values():
        _settle(entry)
    return found


def add_missing(entries: Iterable[SessionSummary], holes: Sequence[Hole], *, whole: bool) -> None:
    """Tell each session what is missing of it.

    Args:
        entries: The sessions.
        holes: Missing numbers, with the moments between which they were said.
        whole: Nothing was left out by a window.
    """
    for entry in entries:
        facts = entry.facts
        names = [service for service, _ in silent(facts, whole=whole)]
        names += [BROWSER for _ in unclosed(facts)]
        entry.silent = list(dict.fromkeys(names))
        entry.missing = sum(
            hole.gap.last - hole.gap.first + 1
            for hole in holes
            if hole.gap.boot in facts.boots
            and hole.after <= facts.last
            and hole.before >= facts.first
        )


def _note(entry: SessionSummary, line: Line) -> None:
    record = line.record
    entry.facts.note(record)
    user, name, room = (_text(record.get(key)) for key in (USER_ID, USER_NAME, ROOM))
    failed = record.get(LEVEL) == "error"
    if record[SERVICE] == BROWSER:
        page = entry.pages.setdefault(user or "", Page())
        page.lines += 1
        page.errors += failed
        page.name, page.room = name or page.name or user, page.room or room
        return
    if entry.facts.is_strange(record):
        return
    entry.lines += 1
    entry.errors += failed
    entry.room = entry.room or room
    entry.user = name or entry.user or user
    if name:
        entry.people.add(name)
    event = record.get(EVENT)
    if event == "session.ended":
        end = entry.facts.steps[-1]
        state, reason = str(end.meta.get("state", "ended")), str(end.meta.get("reason", ""))
        entry.reach(state, end.epoch, reason)
    elif event in _STATES:
        entry.reach(_STATES[event], entry.facts.steps[-1].epoch)


def _settle(entry: SessionSummary) -> None:
    """Add what the pages of those who joined have told; other people's pages prove nothing."""
    facts = entry.facts
    facts.settle()
    facts.steps.sort(key=attrgetter("at"))
    believed = {user: page for user, page in entry.pages.items() if facts.believes(user)}
    for page in believed.values():
        entry.lines += page.lines
        entry.errors += page.errors
        entry.room = entry.room or page.room
        entry.user = entry.user or page.name
    entry.people |= facts.people | {user for user in believed if user}
    entry.people |= {page.name for page in believed.values() if page.name}
    if len(facts.joined) > 1:
        entry.user = ", ".join(facts.joined.values())
    if not entry.state and (entry.pages or any(s.event == "page.opened" for s in facts.steps)):
        entry.state = "opened"


def _fact(step: Step) -> _Fact:
    return _Fact(round(seconds(step.at) * 1e6), step.event, step.epoch, step.meta)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
