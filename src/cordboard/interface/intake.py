"""Lines of browsers: checked one by one, made theirs by the login, written among our own.

A browser is a stranger with a clock of its own. Nothing of it is believed but what it says about
itself: its identity comes from the login, its service is ``browser``, its events are the two that
only a browser can see, and its clock may put no line where nobody would look for it.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from cordboard.contract.ids import is_session_id
from cordboard.emit import forward, get_logger
from cordboard.emit.foreign import why_invalid
from cordboard.interface.login import Person

LINES_A_SECOND: Final = 200.0
BURST_LINES: Final = 4000.0  # two of a page's fullest buffers: what an outage has held up
TOTAL_LINES_A_SECOND: Final = 2000.0
TOTAL_BURST_LINES: Final = 20_000.0
PEOPLE_MAX: Final = 10_000
BOOTS_MAX: Final = 10_000
EVENTS: Final = frozenset({"page.opened", "join.clicked"})
SKEW_IGNORED_S: Final = 2.0  # what a slow network makes of two equal clocks
ADRIFT_S: Final = 600.0

log = get_logger("intake")
Clock = Callable[[], float]


@dataclass(slots=True)
class Bucket:
    """Lets so many pass at once, and so many a second."""

    rate: float
    burst: float
    level: float
    at: float

    def take(self, count: int, now: float) -> bool:
        """Take ``count`` out if they are there."""
        self.level = min(self.burst, self.level + (now - self.at) * self.rate)
        self.at = now
        if count > self.level:
            return False
        self.level -= count
        return True


@dataclass(slots=True)
class Taken:
    """What became of a batch."""

    written: int = 0
    repeated: int = 0
    refused: int = 0
    first_reason: str = ""

    def refuse(self, reason: str) -> None:
        """Count a line that is none of ours, and keep the first reason."""
        self.refused += 1
        self.first_reason = self.first_reason or reason


@dataclass(slots=True)
class Intake:
    """Takes batches of lines; bounded in rate and in what it remembers.

    Attributes:
        clock: Seconds that never go back.
        wall: Seconds since the epoch.
    """

    clock: Clock = time.monotonic
    wall: Clock = time.time
    _people: "OrderedDict[str, Bucket]" = field(default_factory=OrderedDict)
    _boots: "OrderedDict[tuple[str, str], int]" = field(default_factory=OrderedDict)
    _total: Bucket | None = None

    def admit(self, person: Person, count: int) -> bool:
        """Say whether ``count`` more lines of this person may come now."""
        now = self.clock()
        if self._total is None:
            self._total = Bucket(TOTAL_LINES_A_SECOND, TOTAL_BURST_LINES, TOTAL_BURST_LINES, now)
        bucket = _kept(
            self._people,
            person.user_id,
            lambda: Bucket(LINES_A_SECOND, BURST_LINES, BURST_LINES, now),
            PEOPLE_MAX,
        )
        return bucket.take(count, now) and self._total.take(count, now)

    def take(self, lines: list[bytes], person: Person, sent_at: float | None) -> Taken:
        """Write a batch; one warning counts what could not be.

        Args:
            lines: One encoded record each.
            person: Who is signed in where they come from.
            sent_at: When the browser sent them, in seconds by its own clock.
        """
        taken = Taken()
        skew_s = self.wall() - sent_at if sent_at is not None else 0.0
        for line in lines:
            self._take_one(line, person, skew_s, taken)
        if taken.refused:
            log.warning(
                "Lines of a browser were refused", count=taken.refused, reason=taken.first_reason
            )
        return taken

    def _take_one(self, line: bytes, person: Person, skew_s: float, taken: Taken) -> None:
        try:
            record = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            taken.refuse("it is no JSON")
            return
        reason = why_invalid(record) or _why_not_a_browsers(record)
        if reason:
            taken.refuse(reason)
        elif self._repeated(person, record["boot"], record["seq"]):
            taken.repeated += 1
        else:
            theirs = {**record, "service": "browser"}
            theirs |= {"userId": person.user_id, "userName": person.name}
            forward(_in_time(theirs, skew_s, self.wall()))
            taken.written += 1

    def _repeated(self, person: Person, boot: str, seq: int) -> bool:
        """Say whether a line came before: on its way out a page sends again what it is unsure of."""
        key = (person.user_id, boot)
        if seq <= _kept(self._boots, key, lambda: 0, BOOTS_MAX):
            return True
        self._boots[key] = seq
        return False


def _kept(mapping: "OrderedDict[Any, Any]", key: Any, new: Callable[[], Any], most: int) -> Any:
    """Return what is kept under a key, now the youngest; the oldest is forgotten."""
    if key not in mapping:
        mapping[key] = new()
        if len(mapping) > most:
            mapping.popitem(last=False)
    mapping.move_to_end(key)
    return mapping[key]


def _why_not_a_browsers(record: Mapping[str, Any]) -> str | None:
    session_id = record["sessionId"]
    if not is_session_id(session_id):
        return "sessionId is no session id"
    if record.get("event") is not None and record["event"] not in EVENTS:
        return f"event is none of a browser's: {', '.join(sorted(EVENTS))}"
    if record.get("raw"):
        return "raw is not for browsers"
    return None


def _in_time(record: dict[str, Any], skew_s: float, now: float) -> dict[str, Any]:
    """Return a record with a timestamp that our own clock could have given.

    Files of lines are searched by time. A browser whose clock is an hour off would hide its lines,
    or, worse, those of others. What the browser said is kept in ``meta.browser_time``.
    """
    try:
        said = datetime.fromisoformat(record["timestamp"])
        at = said if abs(skew_s) < SKEW_IGNORED_S else said + timedelta(seconds=skew_s)
    except (ValueError, OverflowError):
        said = at = datetime.fromtimestamp(0, UTC)
    if abs(at.timestamp() - now) > ADRIFT_S:
        at = datetime.fromtimestamp(now, UTC)
    if at == said:
        return record
    meta = {**record.get("meta", {}), "browser_time": record["timestamp"]}
    return {**record, "timestamp": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), "meta": meta}
