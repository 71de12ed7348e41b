"""The lines of one session, as the rules see them: believable, in time order, of the last stay, bounded."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from cordboard.contract.call_events import LEFT_OUT
from cordboard.contract.record import (
    BOOT,
    EPOCH,
    ERROR,
    EVENT,
    MESSAGE,
    META,
    PLANE_SERVICES,
    SEQ,
    SERVER_PREFIX,
    SERVICE,
    SESSION_ID,
    TAG,
    TIMESTAMP,
)
from cordboard.logs.coverage import Coverage
from cordboard.logs.left_out import LeftOut, words_of
from cordboard.logs.session import BROWSER, HEARD
from cordboard.logs.stays import stays
from cordboard.logs.timespec import seconds
from cordboard.logs.values import number
from cordboard.logs.why.owners import end_of, is_of_owner, word_of_owner

LINES_MAX: Final = 1000
"""So many lines of each kind are kept: half of them the first ones, half the last. A day of `media.stats` is more."""

REDIS_AWAY: Final = "Redis is "
OFFER_ANSWERED: Final = "offer answered"
"""The access line of an offer that was answered."""
OFFER_REFUSED: Final = "offer refused"
"""The access line of an offer that got an error."""
_SERVERS: Final = PLANE_SERVICES - {BROWSER}


@dataclass(frozen=True, slots=True)
class Fact:
    """One line.

    Attributes:
        at_ms: Milliseconds since 1970.
        kind: Its event, or its message where the rules read it by that.
        record: The whole record.
    """

    at_ms: float
    kind: str
    record: Mapping[str, Any]

    @property
    def service(self) -> str:
        """Who wrote it."""
        return str(self.record.get(SERVICE))

    @property
    def event(self) -> str | None:
        """Its event, if it has one."""
        event = self.record.get(EVENT)
        return event if isinstance(event, str) else None

    @property
    def epoch(self) -> int | None:
        """The epoch of the session."""
        epoch = self.record.get(EPOCH)
        return epoch if isinstance(epoch, int) and not isinstance(epoch, bool) else None

    @property
    def us(self) -> int:
        """Microseconds since 1970."""
        return round(self.at_ms * 1000)

    @property
    def meta(self) -> Mapping[str, Any]:
        """What it says besides its message."""
        meta = self.record.get(META)
        return meta if isinstance(meta, Mapping) else {}

    @property
    def error(self) -> Mapping[str, Any]:
        """Its exception."""
        error = self.record.get(ERROR)
        return error if isinstance(error, Mapping) else {}

    @property
    def end(self) -> str:
        """The end of the media that a line of statistics is about: ``page``, ``call`` or ``bot``."""
        return end_of(self.service)

    def text(self, name: str) -> str:
        """Return a text of its metadata; empty where it has none."""
        value = self.meta.get(name)
        return value if isinstance(value, str) else ""

    def number(self, name: str) -> float | None:
        """Return a number of its metadata; None where it has none."""
        return number(self.meta.get(name))

    def as_dict(self) -> dict[str, Any]:
        """Return where the line is found, and what it is."""
        keys = {"boot": BOOT, "seq": SEQ, "timestamp": TIMESTAMP, "service": SERVICE}
        names = keys | {"event": EVENT, "message": MESSAGE, "meta": META}
        return {name: value for name, key in names.items() if (value := self.record.get(key))}


class _Ends:
    """Keeps the first and the last of many."""

    def __init__(self) -> None:
        self._first: list[Fact] = []
        self._last: deque[Fact] = deque(maxlen=LINES_MAX // 2)

    def add(self, fact: Fact) -> None:
        if len(self._first) < LINES_MAX // 2:
            self._first.append(fact)
        else:
            self._last.append(fact)

    def __iter__(self) -> Iterator[Fact]:
        yield from self._first
        yield from self._last


class StoryMaker:
    """Takes the records of one session, and of its servers, one by one."""

    def __init__(self) -> None:
        self._kept: dict[str, _Ends] = {}
        self._servers = _Ends()
        self._left_out = LeftOut()
        self._lines = 0

    def add(self, record: Mapping[str, Any]) -> None:
        """Take one record of the session."""
        self._lines += 1
        if record.get(MESSAGE) == LEFT_OUT:
            self._left_out.add(record, _fact(record, LEFT_OUT).at_ms)
        kind = _kind(record)
        if kind is not None:
            self._kept.setdefault(kind, _Ends()).add(_fact(record, kind))

    def add_server(self, record: Mapping[str, Any]) -> None:
        """Take one record without a session: of it, only an outage of Redis counts."""
        session, message = record.get(SESSION_ID), str(record.get(MESSAGE))
        is_server = not isinstance(session, str) or session.startswith(SERVER_PREFIX)
        if is_server and record.get(SERVICE) in _SERVERS and message.startswith(REDIS_AWAY):
            self._servers.add(_fact(record, REDIS_AWAY))

    def story(self, coverage: Coverage) -> "Story":
        """Return the story of the last stay among the records."""
        facts = sorted(
            (fact for kept in self._kept.values() for fact in kept), key=lambda fact: fact.at_ms
        )
        found = stays(facts)
        story = Story(found[-1], coverage, self._servers, stays=len(found), lines=self._lines)
        begin = story.facts[0].at_ms if story.facts and len(found) > 1 else float("-inf")
        story.left_out = words_of(self._left_out.since(begin))
        return story


def _fact(record: Mapping[str, Any], kind: str) -> Fact:
    return Fact(seconds(str(record.get(TIMESTAMP)).encode()) * 1000, kind, record)


def _kind(record: Mapping[str, Any]) -> str | None:
    """Return by what the rules know a record; None where they read nothing of it.

    A program other than the one that an event belongs to proves nothing by it.
    """
    event, service, meta = record.get(EVENT), record.get(SERVICE), record.get(META)
    if not isinstance(event, str) or not isinstance(service, str):
        return _offer(record) or word_of_owner(record, service)
    return event if is_of_owner(event, service, meta if isinstance(meta, Mapping) else {}) else None


def _offer(record: Mapping[str, Any]) -> str | None:
    """Return the kind of the access line of an offer; None for other records."""
    meta = record.get(META)
    if record.get(TAG) != "http" or record.get(SERVICE) not in _SERVERS:
        return None
    if not isinstance(meta, Mapping):
        return None
    path, status = meta.get("path"), meta.get("status")
    if not isinstance(path, str) or not path.endswith("/offer") or not isinstance(status, int):
        return None
    if status == HTTPStatus.OK:
        return OFFER_ANSWERED
    return OFFER_REFUSED if status >= HTTPStatus.BAD_REQUEST else None


class Story:
    """What the lines of one stay tell.

    Args:
        facts: The lines that the rules read, in time order.
        coverage: The coverage of all lines.
        servers: Lines of servers that tell of outages of Redis, in time order.
        stays: How many sessions there were under the id.
        lines: How many lines there were.

    Attributes:
        end: The line of the session's end; None without one.
        left_out: What the bot did not write of it, in a sentence; empty if it wrote all.
    """

    def __init__(
        self,
        facts: Iterable[Fact],
        coverage: Coverage,
        servers: Iterable[Fact] = (),
        *,
        stays: int = 1,
        lines: int = 0,
    ) -> None:
        self.facts = list(facts)
        self.coverage = coverage
        self.stays = stays
        self.lines = lines
        self.left_out = ""
        self._kinds: dict[str, list[Fact]] = {}
        for fact in (*self.facts, *servers):
            self._kinds.setdefault(fact.kind, []).append(fact)
        self.end = self.last("session.ended")

    def all(self, *kinds: str) -> list[Fact]:
        """Return all lines of some kinds, in time order."""
        if len(kinds) == 1:
            return self._kinds.get(kinds[0], [])
        found = (fact for kind in kinds for fact in self._kinds.get(kind, ()))
        return sorted(found, key=lambda fact: fact.at_ms)

    def first(self, *kinds: str) -> Fact | None:
        """Return the first line of some kinds."""
        return next(iter(self.all(*kinds)), None)

    def last(self, *kinds: str) -> Fact | None:
        """Return the last line of some kinds."""
        found = self.all(*kinds)
        return found[-1] if found else None

    def where(self, kind: str, holds: Callable[[Fact], bool]) -> list[Fact]:
        """Return the lines of a kind for which something holds."""
        return [fact for fact in self.all(kind) if holds(fact)]

    @property
    def reason(self) -> str:
        """The reason of the end; empty without one."""
        return self.end.text("reason") if self.end else ""

    @property
    def accepted(self) -> Fact | None:
        """The line that shows that a session existed."""
        return self.first("join.accepted", "launch.claimed", "start.received", "bot.started")

    @property
    def ran(self) -> Fact | None:
        """The line that shows that a bot ran."""
        return self.first("bot.started")

    @property
    def user(self) -> Fact | None:
        """The line that shows that the caller was there."""
        return self.first("user.connected", "user.first_audio", "stream.opened", "turn.heard")

    @property
    def heard(self) -> Fact | None:
        """The line that shows that the bot spoke."""
        return self.first("bot.first_audio", HEARD, "turn.heard")

    @property
    def has_page(self) -> bool:
        """Whether a page took part."""
        return any(fact.service == BROWSER for fact in self.facts) or any(
            fact.service == "interface" for fact in self.all("join.requested")
        )

    @property
    def lost(self) -> frozenset[str]:
        """The services of which lines are missing; ``*`` stands for any."""
        return frozenset(
            answer.name if answer.kind == "service" else "*"
            for answer in self.coverage.answers
            if answer.shortfalls
        )

    def until_end_ms(self, fact: Fact) -> float:
        """Return the milliseconds from a line to the end of the call, or to the last line."""
        last = self.end or (self.facts[-1] if self.facts else fact)
        return max(last.at_ms - fact.at_ms, 0.0)

    @property
    def lost_words(self) -> tuple[str, ...]:
        """What is missing, in words."""
        return tuple(
            f"{answer.name}: {why.words}"
            for answer in self.coverage.answers
            for why in answer.shortfalls
        )
