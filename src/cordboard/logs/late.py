"""Lines without numbers that were delivered late, and so stand far behind the place of their time.

Sequence numbers prove that no line of a window stands elsewhere. Other loggers' lines have none, so what stands
behind the window is searched for the window's times, in the spellings of those lines. A line is written after it was
said: what stands before the window is not searched.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Final, NamedTuple

from cordboard.logs.blocks import Block, blocks
from cordboard.logs.coverage import Shortfall
from cordboard.logs.filters import Prefilter
from cordboard.logs.formats.wrappers import number_of
from cordboard.logs.patterns import pattern
from cordboard.logs.scan import Scan
from cordboard.logs.stream import Track
from cordboard.logs.survey import numbers
from cordboard.logs.timespec import seconds
from cordboard.logs.timestamps import own_number

_SEARCHED_MAX_BYTES: Final = 2 << 30  # of all streams, times the spellings: a second at most
_DECODED_MAX_BYTES: Final = (
    4 << 20
)  # so much is read line by line where no spelling is known: 0.2 s
_LOOKED_AT_MAX: Final = 20_000  # lines of other days at the same time of day: 0.2 s
_SAMPLE_BYTES: Final = 16 << 10
_SAMPLES: Final = 8
_LINES_OF_SAMPLE: Final = 8  # without a number and with a time; to read one takes 20 microseconds
_TERMS_MAX: Final = 10
_DAY_MIN: Final = 24 * 60
_DATE_BYTES: Final = len("2026-11-29")
_ZONE_STEP_MIN: Final = 15
_EPOCH_STEPS: Final = (1, 10, 100, 1_000, 10_000, 100_000)
_CLOCK: Final = pattern(rb"(?<!\d)(\d\d)(:?)(\d\d)\2(\d\d)(?!\d)")

UNPROVED: Final = "unproved"


class _Spelling(NamedTuple):
    """How a file writes times.

    Attributes:
        mark: What stands between hours and minutes; None for seconds since 1970.
        ahead_min: By how many minutes the clock is ahead of UTC.
        day: What stands between the clock and a date before it, as in ISO 8601; None where no such date is.
    """

    mark: bytes | None
    ahead_min: int = 0
    day: bytes | None = None


def find_late(tracks: Iterable[Track], since: bytes, until: bytes) -> None:
    """Let the span of a window include lines that stand far behind it; say where that was not searched.

    Args:
        tracks: The streams.
        since: The window's beginning.
        until: Its end.
    """
    left = _SEARCHED_MAX_BYTES
    for track in tracks:
        end = track.span(since, until)[1]
        if end is None or end >= track.size:
            continue
        spellings = _spellings(track, end)
        if spellings is None:
            continue
        rest = track.size - end
        terms = _terms(spellings, since, until)
        left -= rest * len(terms)
        last: int | None
        if terms and left >= 0:
            last = _last_by_bytes(track, end, terms, since, until)
        elif rest <= _DECODED_MAX_BYTES:
            last = _last_by_lines(track, end, since, until)
        else:
            last = None
        if last is None:
            why = f"the {rest >> 20} MB behind the window were not searched"
            track.shortfalls = [*track.shortfalls, Shortfall(UNPROVED, why)]
        elif last > end:
            track.read_on(since, until, last)


def _samples(track: Track, offset: int) -> Iterator[bytes]:
    """Yield whole lines around an offset, and at places evenly over the stream."""
    places = [max(0, offset - _SAMPLE_BYTES // 2)]
    places += [track.size * number // _SAMPLES for number in range(_SAMPLES)]
    for place in places:
        data = track.byte_reader.read(place, _SAMPLE_BYTES)
        yield data[data.find(b"\n") + 1 if place else 0 : data.rfind(b"\n") + 1]


def _spellings(track: Track, offset: int) -> set[_Spelling] | None:
    """Return how lines without numbers write their times; None where all lines of the samples have numbers.

    None are returned if one of them is written in a way that is not known here.
    """
    found: set[_Spelling] = set()
    has_some = False
    for data in _samples(track, offset):
        for line, key in islice(_dated(track, data), _LINES_OF_SAMPLE):
            several = set(_spellings_of(line, key))
            if not several:
                return set()
            has_some = True
            found |= several
    return found if has_some or not _has_numbers(track, offset) else None


def _dated(track: Track, data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield lines that have a time and no number, with their times."""
    counted = numbers(data, len(data))
    if counted.own:
        return
    for line in data.split(b"\n"):
        is_numbered = own_number(line) is not None or (b"boot" in line and number_of(line))
        if not is_numbered and (key := track.key_of(line)) is not None:
            yield line, key


def _has_numbers(track: Track, offset: int) -> bool:
    return any(
        found.runs or any(map(number_of, found.others))
        for data in _samples(track, offset)
        if (found := numbers(data, len(data)))
    )


def _spellings_of(line: bytes, key: bytes) -> Iterator[_Spelling]:
    if str(int(seconds(key))).encode() in line:
        yield _Spelling(None)
    hour, minute, second = int(key[11:13]), int(key[14:16]), key[17:19]
    for said in _CLOCK.finditer(line):
        ahead = int(said[1]) * 60 + int(said[3]) - hour * 60 - minute
        if said[4] == second and ahead % _ZONE_STEP_MIN == 0:
            yield _with_day(_Spelling(said[2], ahead), line, said.start(), key)


def _with_day(spelling: _Spelling, line: bytes, at: int, key: bytes) -> _Spelling:
    """Return a spelling with its date, if the date in front of the clock is the clock's."""
    clock = _minute_text(int(seconds(key)) // 60 + spelling.ahead_min, b"", b"")[:_DATE_BYTES]
    is_dated = at > _DATE_BYTES and line[at - _DATE_BYTES - 1 : at - 1] == clock
    return spelling._replace(day=line[at - 1 : at]) if is_dated else spelling


def _minute_text(minute: int, day: bytes, mark: bytes) -> bytes:
    """Return a minute since 1970 as ``2026-11-29T14:05``, with these bytes in the place of ``T`` and ``:``."""
    moment = datetime.fromtimestamp(minute * 60, UTC)
    return b"%b%b%02d%b%02d" % (
        moment.strftime("%Y-%m-%d").encode(),
        day,
        moment.hour,
        mark,
        moment.minute,
    )


def _terms(spellings: Iterable[_Spelling], since: bytes, until: bytes) -> list[bytes]:
    """Return bytes of which each line of a window has one; none where they would not tell it from others."""
    first, last = int(seconds(since)), int(seconds(until))
    if last - first >= _DAY_MIN * 60:
        return []
    several = [
        _epoch_terms(first, last)
        if mark is None
        else _clock_terms(first // 60 + ahead_min, last // 60 + ahead_min, mark, day)
        for mark, ahead_min, day in spellings
    ]
    return sorted(set().union(*several)) if all(several) else []


def _epoch_terms(first: int, last: int) -> set[bytes]:
    step = next(step for step in _EPOCH_STEPS if (last - first) // step < _TERMS_MAX)
    return {str(part).encode() for part in range(first // step, last // step + 1)}


def _clock_terms(first: int, last: int, mark: bytes, day: bytes | None) -> set[bytes]:
    """Return the minutes of a window as texts, or its tens of minutes, or its hours; with dates where they have some."""
    if day is not None:
        texts = {_minute_text(minute, day, mark) for minute in range(first, last + 1)}
        shorter = (len(mark) + 2, 1, 0)  # hours, tens of minutes, minutes
        return next(
            found
            for left_out in reversed(shorter)
            if len(found := {text[: len(text) - left_out] for text in texts}) <= _TERMS_MAX
            or left_out == shorter[0]
        )
    minutes = [minute % _DAY_MIN for minute in range(first, last + 1)]
    if len(minutes) <= _TERMS_MAX:
        return {b"%02d%b%02d%b" % (minute // 60, mark, minute % 60, mark) for minute in minutes}
    if len(minutes) <= _TERMS_MAX * 10:
        return {b"%02d%b%d" % (minute // 60, mark, minute % 60 // 10) for minute in minutes}
    return {b"%02d%b" % (minute // 60, mark) for minute in minutes} if mark else set()


def _last_by_bytes(
    track: Track, begin: int, terms: Sequence[bytes], since: bytes, until: bytes
) -> int | None:
    """Return where the last line of a window ends behind an offset; None where too many lines look alike."""
    last, looked_at = begin, 0
    for block in blocks(track.byte_reader, begin):
        found = 0
        for term in terms:
            for start, end in _lines_with(block, term, found):
                key = track.key_of(block.part(start, end))
                if key is not None and since <= key < until:
                    found = end
                    break
                looked_at += 1
                if looked_at > _LOOKED_AT_MAX:
                    return None
        if found:
            last = block.offset + found
    return last


def _lines_with(block: Block, term: bytes, begin: int) -> Iterator[tuple[int, int]]:
    """Yield where lines with some bytes begin and end, the last one first, back to a place."""
    start = block.size
    while (at := block.rfind(term, start)) >= begin:
        start = block.rfind(b"\n", at) + 1
        yield start, block.find(b"\n", at) + 1 or block.size


def _last_by_lines(track: Track, begin: int, since: bytes, until: bytes) -> int:
    """Return the same, by a look at each line."""
    scan = Scan(track, Prefilter(), since, until, part=(begin, None))
    return max((entry.offset + len(entry.raw) + 1 for entry in scan.entries()), default=begin)
