"""Durations and moments as users write them, and the one form in which all timestamps compare.

A *key* is a timestamp of the contract as bytes: 27 of them, UTC, so that keys sort by time.
"""

import re
import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

from cordboard.contract.errors import UsageError
from cordboard.logs.patterns import pattern

KEY_BYTES: Final = 27
LOWEST: Final = b"0000-00-00T00:00:00.000000Z"
HIGHEST: Final = b"9999-99-99T99:99:99.999999Z"

_DURATION_MAX_S: Final = 100 * 365 * 86400
_DURATION: Final = pattern(
    r"(?=\d)(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?", re.ASCII
)
_SECONDS: Final = pattern(r"\d{1,12}", re.ASCII)
_CLOCK: Final = pattern(
    r"(?:(today|yesterday)(?: +|$))?(?:(\d{1,2}):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?)?", re.ASCII
)
_DATE: Final = pattern(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?"
    r" ?([Zz]|[+-]\d\d:?\d\d)?)?",
    re.ASCII,
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_US: Final = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_LAST_US: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
# As seconds 1973 to 2286, which no other unit reaches in a time of these years.
_EPOCH_FIRST_S: Final = 10**8
_EPOCH_END_S: Final = 10**10
# 9999-12-31T23:59:59Z, the last second that datetime can hold.
_LAST_S: Final = 253_402_300_799.0
_MOMENT_HINT: Final = (
    "Use 2026-11-23T10:11:12Z, 2026-11-23 10:11, 14:05, yesterday 14:05, "
    "or a duration before now such as 90s, 10m, 1h30m or 2d."
)


def duration_s(text: str) -> int:
    """Return the seconds of a DURATION, a `text` such as ``600``, ``90s``, ``10m``, ``1h30m`` or ``2d``.

    Raises:
        UsageError: It is none.
    """
    seconds = _duration_or_none(text)
    if seconds is None or not 0 < seconds <= _DURATION_MAX_S:
        raise UsageError(
            f"Invalid duration {text!r}.",
            hint="Use seconds (600) or forms like 90s, 10m, 1h30m or 2d.",
        )
    return seconds


def _duration_or_none(text: str) -> int | None:
    if _SECONDS.fullmatch(text):
        return int(text)
    found = _DURATION.fullmatch(text)
    if not found or not text:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def moment(text: str, now: datetime) -> datetime:
    """Return the moment that a user means; without a zone it is the time of this machine.

    A clock time alone is the latest one that has passed.

    Args:
        text: RFC 3339, a date, ``14:05``, ``yesterday 14:05``, ``now``, or a DURATION before now.
        now: The present, with its zone.

    Raises:
        UsageError: It names no moment.
    """
    text = text.strip()
    try:
        found = _moment_or_none(text, now)
        if found is not None:
            timestamp(found)
    except (ValueError, OverflowError):
        found = None
    if found is None:
        raise UsageError(f"Invalid time {text!r}.", hint=_MOMENT_HINT)
    return found


def moved(at: datetime, by: timedelta) -> datetime:
    """Return the moment `by` after `at`, or before it.

    Raises:
        UsageError: It is not in the years 1 to 9999.
    """
    try:
        result = at + by
        timestamp(result)
    except (OverflowError, ValueError):
        raise UsageError("The window reaches beyond the years 1 to 9999.") from None
    return result


def _moment_or_none(text: str, now: datetime) -> datetime | None:
    if text == "now":
        return now
    dated = text[4:5] == "-"  # no need to compile what a duration looks like
    if not dated and (ago := _duration_or_none(text)) is not None:
        return now - timedelta(seconds=ago) if ago <= _DURATION_MAX_S else None
    if found := _DATE.fullmatch(text):
        return _from_parts(found)
    found = _CLOCK.fullmatch(text)
    return _by_clock(found, now.astimezone()) if found and text else None


def _by_clock(found: re.Match[str], now: datetime) -> datetime:
    day, hour, minute, second, fraction = found.groups()
    naive = now.replace(tzinfo=None)
    date = naive.date() - timedelta(days=day == "yesterday")
    at = datetime(  # noqa: DTZ001 - the machine's own time is meant
        date.year, date.month, date.day, int(hour or 0), int(minute or 0), int(second or 0),
        int((fraction or "0").ljust(6, "0")),
    )  # fmt: skip
    if day is None and at > naive:
        at -= timedelta(days=1)
    return at.astimezone()


def _from_parts(found: re.Match[str]) -> datetime:
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    at = datetime(  # noqa: DTZ001 - its zone follows
        int(year), int(month), int(day), int(hour or 0), int(minute or 0),
        min(int(second or 0), 59), int((fraction or "0")[:6].ljust(6, "0")),
    )  # fmt: skip
    if zone is None:
        return at.astimezone()
    if zone in "Zz":
        return at.replace(tzinfo=UTC)
    return datetime.fromisoformat(f"{at.isoformat()}{zone[:3]}:{zone[-2:]}")


def timestamp(at: datetime) -> str:
    """Return the moment `at`, which has a zone, as a timestamp of the contract."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(KEY_BYTES, "0")


def timestamp_of(microseconds: int) -> str:
    """Return `microseconds` since 1970 as a timestamp of the contract, the nearest one of the years 1 to 9999."""
    within = min(max(microseconds, _FIRST_US), _LAST_US)
    return timestamp(_EPOCH + timedelta(microseconds=within))


def nano_timestamp(nanoseconds: int) -> str:
    """Return `nanoseconds` since 1970 as a timestamp of RFC 3339 to the nanosecond, in UTC."""
    whole, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{rest:09d}Z"


def key_of_epoch(number: float) -> bytes | None:
    """Return the key of a Unix time, a `number` of seconds, milli-, micro- or nanoseconds.

    Returns:
        None if it is in none of these units a time of the years 1973 to 2286.
    """
    for unit in (1, 1_000, 1_000_000, 1_000_000_000):
        if _EPOCH_FIRST_S * unit <= number < _EPOCH_END_S * unit:
            micros = int(number * 1_000_000 // unit) if unit > 1 else round(number * 1_000_000)
            at = datetime.fromtimestamp(micros // 1_000_000, UTC)
            return timestamp(at.replace(microsecond=micros % 1_000_000)).encode()
    return None


def key_of_parts(
    date: str, clock: str, fraction: str | None, zone: str | None, *, utc: bool
) -> bytes | None:
    """Return the key of a timestamp that a text holds in pieces.

    A leap second is the last microsecond before it.

    Args:
        date: ``2026-11-23``.
        clock: ``10:11:12``.
        fraction: Digits after the second.
        zone: ``Z``, ``+01:00``, ``-0500``; None where the text has none.
        utc: Without a zone it is UTC, else the time of this machine.
    """
    if clock[3:5] > "59" or clock[6:8] > "60":
        return None
    if clock[6:8] == "60":  # a leap second
        clock, fraction = f"{clock[:6]}59", "999999"
    hour = _hour_in_utc(date, clock[:2], "Z" if utc and zone is None else zone)
    if hour is None:
        return None
    prefix, minutes = hour
    micros = (fraction or "")[:6].ljust(6, "0")
    if minutes:
        return _shifted(prefix, clock, micros, minutes)
    return f"{prefix}{clock[2:]}.{micros}Z".encode()


def _shifted(prefix: str, clock: str, micros: str, minutes: int) -> bytes | None:
    try:
        at = datetime.fromisoformat(f"{prefix}{clock[2:]}.{micros}+00:00")
        return timestamp(at + timedelta(minutes=minutes)).encode()
    except (ValueError, OverflowError):
        return None


@lru_cache(maxsize=256)
def _hour_in_utc(date: str, hour: str, zone: str | None) -> tuple[str, int] | None:
    """Return the hour in UTC as ``2026-11-23T10``, and minutes to be added (zones of half hours)."""
    try:
        at = datetime.fromisoformat(f"{date}T{hour}:00:00")
        if zone is None:
            at = at.astimezone()
        elif zone in "Zz":
            at = at.replace(tzinfo=UTC)
        else:
            at = datetime.fromisoformat(f"{date}T{hour}:00:00{zone[:3]}:{zone[-2:]}")
        at = at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return at.strftime("%Y-%m-%dT%H").rjust(13, "0"), at.minute


def seconds(key: bytes) -> float:
    """Return the Unix time of `key`, in seconds; a key that is no time is the nearest end of all times."""
    whole = key[:26] if key[17:19] != b"60" else key[:17] + b"59.999999"
    try:
        return datetime.fromisoformat(whole.decode() + "+00:00").timestamp()
    except (ValueError, OverflowError):
        return 0.0 if key < b"1970" else _LAST_S


@lru_cache(maxsize=256)  # of thousands of streams the same moments are asked for
def shifted(key: bytes, by_s: float) -> bytes:
    """Return the key of the moment `by_s` seconds after `key`, or before it."""
    try:
        at = datetime.fromisoformat(key[:26].decode() + "+00:00")
        return timestamp(at + timedelta(seconds=by_s)).encode()
    except (ValueError, OverflowError):
        return LOWEST if by_s < 0 and key < b"1" else key
