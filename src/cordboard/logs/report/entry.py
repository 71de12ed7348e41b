"""A line as a report sees it: without secrets, of checked types, in texts that steer nothing.

What would be invisible or would turn other text around (controls, direction marks, zero widths,
lone surrogates) is shown as its code point, so that a reader sees that it is there.
"""

import json
import math
import re
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, TypeVar

from cordboard.contract.record import LEVELS, SERVER_PREFIX, level_from_name
from cordboard.contract.redaction import REDACTED, is_secret_name, redact
from cordboard.logs.session import is_read
from cordboard.logs.timespec import timestamp_of

WHO: Final = ("user_id", "user_name", "room")
BOOT_MAX: Final = 16
DEPTH_MAX: Final = 32  # a value that is nested deeper is left out
TEXT_MAX: Final = 16 * 1024
"""So long a line of ours may be; of longer texts reports show the beginning."""
SAFE_INT_MAX: Final = 2**53 - 1
"""Beyond it a browser would show another number."""
_MARGIN: Final = 1024  # redacted beyond the cut, where a secret may end
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EMPTY: Final[Mapping[str, Any]] = {}
_STEERS: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff0-\ufffb\ufffe\uffff"
    "\U000e0000-\U000e03ff]"
)

T = TypeVar("T")


class Entry:
    """One line.

    Args:
        index: Its place among the lines that were read.
        record: The record; nothing is taken for granted of it.
        session_id: The session that was asked for: a line without one is that one's.

    Attributes:
        us: Microseconds since 1970; None where the line has no time.
        session_id: None where it names no session, or a machine only.
        error: Its error in words, and its stack; both empty without one.
        read: It tells of a request that only read the session.
        place: Its process and number; empty where it has none.
    """

    def __init__(
        self, index: int, record: Mapping[str, Any], session_id: str | None = None
    ) -> None:
        meta, error, epoch = record.get("meta"), record.get("error"), record.get("epoch")
        own, level = _text(record.get("sessionId")), _text(record.get("level")) or ""
        self.index = index
        self.us = microseconds(record.get("timestamp"))
        self.level = level if level in LEVELS else level_from_name(level) or "info"
        self.service = _text(record.get("service")) or "unknown"
        self.message = as_text(record.get("message", ""))
        self.session_id = session_id if own is None or own.startswith(SERVER_PREFIX) else own
        self.user_id = _text(record.get("userId"))
        self.user_name = _text(record.get("userName"))
        self.room = _text(record.get("room"))
        self.epoch = epoch if isinstance(epoch, int) and not isinstance(epoch, bool) else None
        self.event = _text(record.get("event"))
        self.meta = meta if isinstance(meta, Mapping) else _EMPTY
        self.error = _error_words(error)
        self.stack = as_text(error.get("stack") or "") if isinstance(error, Mapping) else ""
        self.read = is_read(record)
        boot, seq = _text(record.get("boot")), record.get("seq")
        is_numbered = isinstance(seq, int) and not isinstance(seq, bool)
        is_named = boot is not None and len(boot) <= BOOT_MAX and boot.isalnum()
        self.place = {"boot": boot, "seq": seq} if is_numbered and is_named else {}

    @property
    def bad(self) -> bool:
        """Whether it is a warning or an error."""
        return self.level in {"warn", "error"}

    @property
    def who(self) -> dict[str, str]:
        """Whose session it is of, and where, as far as it says."""
        return {name: value for name in WHO if (value := getattr(self, name))}

    @property
    def note(self) -> str:
        """What it says besides its message: the metadata, and the words of its error."""
        return " ".join(filter(None, [pairs(self.meta), self.error]))

    def words(self, *, named: bool) -> str:
        """Return all that it says; ``named``: with its session."""
        whose = f"[{self.session_id}]" if named and self.session_id else None
        said = " ".join(filter(None, [self.message, self.note]))
        return "  ".join(filter(None, [whose, self.event, said]))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _error_words(error: Any) -> str:
    if not isinstance(error, Mapping):
        return "" if error is None else as_text(error)
    return ": ".join(as_text(error[name]) for name in ("type", "message") if error.get(name))


class HeadTail(Generic[T]):
    """Keeps the first and the last half of many: memory has a bound, however long a log is.

    Args:
        most: How many items at most; at least 2.
        most_size: How large they may be together; 0 for any size.
    """

    def __init__(self, most: int, most_size: int = 0) -> None:
        self._half = most // 2
        self._half_size = most_size / 2 or math.inf
        self._most_tail = most - self._half
        self._head: list[T] = []
        self._tail: deque[tuple[T, int]] = deque()
        self._head_size = self._tail_size = 0
        self.added = 0

    def add(self, item: T, size: int = 0) -> None:
        """Take `item`, whose `size` counts towards the bound."""
        self.added += 1
        if len(self._head) < self._half and self._head_size < self._half_size:
            self._head.append(item)
            self._head_size += size
            return
        self._tail.append((item, size))
        self._tail_size += size
        while len(self._tail) > self._most_tail or (
            self._tail_size > self._half_size and len(self._tail) > 1
        ):
            self._tail_size -= self._tail.popleft()[1]

    @property
    def left_out(self) -> int:
        """How many of the middle are not kept."""
        return self.added - len(self._head) - len(self._tail)

    @property
    def split(self) -> int:
        """How many are kept of those before the ones that are left out."""
        return len(self._head) if self.left_out else self.added

    def __iter__(self) -> Iterator[T]:
        yield from self._head
        for item, _ in self._tail:
            yield item


# --- texts


def visible(text: str) -> str:
    """Return ``text`` with all that steers or hides written as its code point."""
    return _STEERS.sub(lambda found: _code_point(ord(found[0])), text.replace("\r\n", "\n"))


def _code_point(number: int) -> str:
    if number <= 0xFF:  # noqa: PLR2004 - a byte
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"  # noqa: PLR2004 - 16 bits


def one_line(text: str, limit: int = 0) -> str:
    """Return ``text`` visible, on one line, cut to ``limit`` characters where one is given."""
    flat = " ".join(visible(text).split())
    return f"{flat[: limit - 1]}…" if limit and len(flat) > limit else flat


def as_text(value: Any) -> str:
    """Return `value`, of a record, as a text: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr)


def pairs(meta: Mapping[str, Any]) -> str:
    """Return ``meta`` as ``name=value name=value``."""
    return " ".join(f"{name}={_value(value)}" for name, value in meta.items())


def _value(value: Any) -> str:
    bare = not isinstance(value, str) or (value and not re.search(r'[\s="]', value))
    return as_text(value) if bare else json.dumps(value, ensure_ascii=False)


# --- times


def microseconds(timestamp: Any) -> int | None:
    """Return the microseconds since 1970 that `timestamp` names; None when it names no time."""
    if not isinstance(timestamp, str):
        return None
    try:
        moment = datetime.fromisoformat(timestamp)
        # A moment that is before the year 1 in UTC names no time either.
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return (moment - _EPOCH) // timedelta(microseconds=1)


def earlier(us: int, ms: float) -> int:
    """Return the time `ms` milliseconds before `us`, microseconds since 1970; no earlier than 1970 but for `us`."""
    return us if ms <= 0 else min(us, round(max(0.0, us - ms * 1000)))


def clock(us: int | None) -> str:
    """Return the time of day of `us`, microseconds since 1970, in UTC, to the millisecond."""
    return "--:--:--.---" if us is None else timestamp_of(us)[11:23]


def day_and_clock(us: int | None) -> str:
    """Return day and time of `us`, microseconds since 1970, in UTC, to the second."""
    return "unknown" if us is None else timestamp_of(us)[:19].replace("T", " ") + " UTC"


def length(ms: float | None) -> str:
    """Return a length of `ms` milliseconds for people: ``348 ms``, ``2.1 s``, ``3 min 12 s``."""
    if ms is None or not math.isfinite(ms):
        return "-"
    if ms < 0:
        return f"-{length(-ms)}"
    if round(ms) < 1000:  # noqa: PLR2004 - a second
        tenths = 1 if ms < 10 else 0  # noqa: PLR2004 - below it a tenth can be told apart
        return f"{ms:.{tenths}f} ms".replace(".0 ms", " ms")
    if ms < 59_950:  # noqa: PLR2004 - a minute, rounded
        return f"{ms / 1000:.1f} s"
    hours, rest = divmod(round(ms / 1000), 3600)
    return f"{hours} h {rest // 60:02d} min" if hours else f"{rest // 60} min {rest % 60:02d} s"


# --- secrets: whoever wrote a line, what is handed to somebody else holds none


def clean_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return `record` without secrets, as JSON and a browser can say it."""
    clean: dict[str, Any] = _clean_container(record, 0, cut=True)
    return clean


def clean_raw(raw: bytes) -> bytes:
    """Return `raw`, the bytes of a line, without secrets; the same bytes where there are none."""
    text = raw.decode("utf-8", "surrogateescape")
    if text.lstrip().startswith("{"):
        try:
            found = json.loads(text)
            clean = _clean(found, 0, cut=False)
        except (ValueError, RecursionError):
            pass
        else:
            if clean == found:
                return raw
            text = json.dumps(clean, ensure_ascii=False, separators=(",", ":"))
            return text.encode("utf-8", "surrogatepass")
    return redact(text).encode("utf-8", "surrogateescape")


def _clean(value: Any, depth: int, *, cut: bool) -> Any:
    if isinstance(value, str):
        return _cut(value) if cut else redact(value)
    if isinstance(value, int):  # a bool as well
        return str(value) if cut and abs(value) > SAFE_INT_MAX else value
    if value is None or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, (Mapping, list, tuple)):
        return _clean_container(value, depth, cut=cut)
    return redact(repr(value))


def _clean_container(value: Any, depth: int, *, cut: bool) -> Any:
    if depth >= DEPTH_MAX:
        return "[too deep]"
    if not isinstance(value, Mapping):
        return [_clean(item, depth + 1, cut=cut) for item in value]
    clean: dict[str, Any] = {}
    for key, item in value.items():
        name = key if isinstance(key, str) else repr(key)
        hidden = is_secret_name(name) and item is not None
        clean[name] = REDACTED if hidden else _clean(item, depth + 1, cut=cut)
    return clean


def _cut(text: str) -> str:
    if len(text) <= TEXT_MAX:
        return redact(text)
    # A secret that is cut could not be recognized: a little more is redacted than is kept.
    kept = redact(text[: TEXT_MAX + _MARGIN])[:TEXT_MAX]
    return f"{kept}… ({len(text) - TEXT_MAX:,} more characters)"
