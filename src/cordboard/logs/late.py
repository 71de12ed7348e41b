"""Lines without numbers that were delivered late, and so stand far behind the place of their time.

Sequence numbers prove that no line of a window stands elsewhere. Other loggers' lines have none, so what stands
behind the window is searched for the window's times, in the spelling of the file. A line is written after it was
said: what stands before the window is not searched.
"""

from collections.abc import Iterable, Iterator, Sequence
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

_SEARCHED_MAX_BYTES: Final = 2 << 30  # of all streams, times the spellings: a second at most
_DECODED_MAX_BYTES: Final = (
    4 << 20
)  # so much is read line by line where no spelling is known: 0.2 s
_LOOKED_AT_MAX: Final = 20_000  # lines of other days at the same time of day: 0.2 s
_SAMPLE_BYTES: Final = 16 << 10
_SAMPLES: Final = 8
_TERMS_MAX: Final = 10
_DAY_MIN: Final = 24 * 60
_ZONE_STEP_MIN: Final = 15
_EPOCH_STEPS: Final = (1, 10, 100, 1_000, 10_000, 100_000)
_CLOCK: Final = pattern(rb"(?<!\d)(\d\d)(:?)(\d\d)\2(\d\d)(?!\d)")

UNPROVED: Final = "unproved"


class _Spelling(NamedTuple):
    """How a file writes times.

    Attributes:
        mark: What stands between hours and minutes; None for seconds since 1970.
        ahead_min: By how many minutes the clock is ahead of UTC.
    """

    mark: bytes | None
    ahead_min: int = 0


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
        if end is None or end >= track.size or _is_numbered(track, end):
            continue
        rest = track.size - end
        terms = _terms(_spellings(track, end), since, until)
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


def _is_numbered(track: Track, offset: int) -> bool:
    """Say whether sequence numbers prove what belongs to the place at an offset."""
    return any(
        found.runs or any(map(number_of, found.others))
        for data in _samples(track, offset)
        if (found := numbers(data, len(data)))
    )


def _samples(track: Track, offset: int) -> Iterator[bytes]:
    """Yield whole lines around an offset, and at places evenly over the stream."""
    places = [max(0, offset - _SAMPLE_BYTES // 2)]
    places += [track.size * number // _SAMPLES for number in range(_SAMPLES)]
    for place in places:
        data = track.byte_reader.read(place, _SAMPLE_BYTES)
        yield data[data.find(b"\n") + 1 if place else 0 : data.rfind(b"\n") + 1]


def _spellings(track: Track, offset: int) -> set[_Spelling]:
    """Return how a stream writes its times; none where one of them is written in another way."""
    found: set[_Spelling] = set()
    for data in _samples(track, offset):
        dated = ((line, track.key_of(line)) for line in data.split(b"\n"))
        line, key = next(((line, key) for line, key in dated if key is not None), (b"", b""))
        if not key:
            continue
        several = set(_spellings_of(line, key))
        if not several:
            return set()
        found |= several
    return found


def _spellings_of(line: bytes, key: bytes) -> Iterator[_Spelling]:
    if str(int(seconds(key))).encode() in line:
        yield _Spelling(None)
    hour, minute, second = int(key[11:13]), int(key[14:16]), key[17:19]
    for said in _CLOCK.finditer(line):
        ahead = int(said[1]) * 60 + int(said[3]) - hour * 60 - minute
        if said[4] == second and ahead % _ZONE_STEP_MIN == 0:
            yield _Spelling(said[2], ahead)


def _terms(spellings: Iterable[_Spelling], since: bytes, until: bytes) -> list[bytes]:
    """Return bytes of which each line of a window has one; none where they would not tell it from others."""
    first, last = int(seconds(since)), int(seconds(until))
    if last - first >= _DAY_MIN * 60:
        return []
    several = [
        _epoch_terms(first, last)
        if mark is None
        else _clock_terms(first // 60 + ahead_min, last // 60 + ahead_min, mark)
        for mark, ahead_min in spellings
    ]
    return sorted(set().union(*several)) if all(several) else []


def _epoch_terms(first: int, last: int) -> set[bytes]:
    step = next(step for step in _EPOCH_STEPS if (last - first) // step < _TERMS_MAX)
    return {str(part).encode() for part in range(first // step, last // step + 1)}


def _clock_terms(first: int, last: int, mark: bytes) -> set[bytes]:
    """Return the minutes of a window as texts, or its tens of minutes, or its hours."""
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
