"""Times and lengths: microseconds inside, words for people."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cordboard.contract.record import TIMESTAMP_CHARS

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US: Final = timedelta(microseconds=1)
_MARKS_AT: Final = (4, 7, 10, 13, 16, 19, 26)
_MARKS: Final = list("--T::.Z")


def microseconds(timestamp: Any) -> int | None:
    """Return the microseconds since 1970 that a timestamp names; None when it names no time."""
    if not isinstance(timestamp, str):
        return None
    try:
        moment = datetime.fromisoformat(timestamp)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return (moment - _EPOCH) // _US
    except (ValueError, OverflowError):
        return None


def timestamp(us: int) -> str:
    """Return the contract's 27 characters."""
    return (_EPOCH + timedelta(microseconds=us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ").zfill(27)


def is_canonical(timestamp: Any) -> bool:
    """Say whether a text that names a time has the contract's form, character by character."""
    return (
        isinstance(timestamp, str)
        and len(timestamp) == TIMESTAMP_CHARS
        and [timestamp[at] for at in _MARKS_AT] == _MARKS
    )


def clock(us: int | None) -> str:
    """Return the time of day in UTC, to the millisecond."""
    return "--:--:--.---" if us is None else timestamp(us)[11:23]


def day_and_clock(us: int | None) -> str:
    """Return day and time in UTC, to the second."""
    return "unknown" if us is None else timestamp(us)[:19].replace("T", " ") + " UTC"


def length(ms: float | None) -> str:
    """Return a length for people: ``348 ms``, ``2.1 s``, ``3 min 12 s``."""
    if ms is None or not math.isfinite(ms):
        return "-"
    if ms < 0:
        return f"-{length(-ms)}"
    if round(ms) < 1000:  # noqa: PLR2004 - a second
        tenths = 1 if ms < 10 else 0  # noqa: PLR2004 - below it a tenth can be told apart
        return f"{ms:.{tenths}f} ms".replace(".0 ms", " ms")
    return f"{ms / 1000:.1f} s" if ms < 59_950 else _minutes(round(ms / 1000))  # noqa: PLR2004


def _minutes(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    if hours:
        return f"{hours} h {rest // 60:02d} min"
    return f"{rest // 60} min {rest % 60:02d} s"
