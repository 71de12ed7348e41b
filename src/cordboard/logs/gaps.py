"""Lost lines: between which others they were said, or where they stand if they are only far from their place."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from cordboard.contract.record import SERVICE
from cordboard.logs.blocks import Block
from cordboard.logs.coverage import Shortfall
from cordboard.logs.filters import Prefilter
from cordboard.logs.formats.wrappers import number_of, unwrap
from cordboard.logs.scan import Scan
from cordboard.logs.sequence import Gap, SequenceIndex
from cordboard.logs.stream import Track
from cordboard.logs.timespec import HIGHEST, LOWEST

_LOCATED_MAX: Final = 50
_CONFIRMED_MAX: Final = 16
_LOOK_BYTES: Final = 128 << 20  # how much is searched for lines that are not where they belong

Number = tuple[str, int]
"""A line: its process's boot, and its number."""

Said = tuple[bytes, str]
"""When a line was said, and by which service."""


class Hole(NamedTuple):
    """A gap with its bounds.

    Attributes:
        gap: The missing numbers.
        service: Who would have said them.
        after: When the line before them was said.
        before: When the line behind them was said.
        astray: They are there, far from where their time belongs.
    """

    gap: Gap
    service: str
    after: bytes
    before: bytes
    astray: bool = False

    def shortfall(self) -> Shortfall:
        """Return it in words."""
        return Shortfall("out_of_order" if self.astray else "gap", f"{self.gap}{self._bounds()}")

    def _bounds(self) -> str:
        """Return the moments around it, as far as the lines beside it are there."""
        after, before = self.after.decode(), self.before.decode()
        if self.after == LOWEST:
            return "" if self.before == HIGHEST else f", before {before}"
        return f", after {after}" if self.before == HIGHEST else f", between {after} and {before}"


def holes(
    tracks: Sequence[Track],
    since: bytes,
    until: bytes,
    services: Sequence[str] = (),
    *,
    exact: bool = False,
) -> list[Hole]:
    """Return what is missing in a window.

    Args:
        tracks: All streams; their ledgers hold what was seen.
        since: The window's beginning.
        until: Its end.
        services: Whose lines matter; empty for all.
        exact: All of the streams has been read.
    """
    gaps = _whole(tracks).gaps()
    where = (LOWEST, HIGHEST) if exact else (since, until)
    beside = {
        (gap.boot, number)
        for gap in gaps[:_LOCATED_MAX]
        for number in (gap.first - 1, gap.last + 1)
    }
    lines = _located(beside, tracks, *where)
    found = [_bounded(gap, lines) for gap in gaps]
    near = [
        hole
        for hole in found
        if hole.after < until
        and hole.before >= since
        and (not services or not hole.service or hole.service in services)
    ]
    if not near or exact or (since == LOWEST and until == HIGHEST):
        return near
    return list(_confirmed(near, tracks, since, until))


def searched_whole(tracks: Iterable[Track]) -> bool:
    """Return whether a line that stands far from its time would be found wherever in `tracks` it is."""
    return sum(track.size for track in tracks) <= _LOOK_BYTES


def beginnings(tracks: Sequence[Track], boots: Iterable[str]) -> Iterator[Gap]:
    """Yield what is missing before the first line of the processes `boots`, which began for one session.

    A process whose earlier lines are in `tracks`, long before the session, did not begin for it.
    """
    sequence_index = _whole(tracks)
    firsts = {boot: first for boot in boots if (first := sequence_index.first(boot) or 1) > 1}
    before = {(boot, first - 1) for boot, first in firsts.items()}
    there = _located(before, tracks, LOWEST, HIGHEST)
    for boot, first in sorted(firsts.items()):
        if (boot, first - 1) not in there:
            yield Gap(boot, 1, first - 1)


def _whole(tracks: Iterable[Track]) -> SequenceIndex:
    sequence_index = SequenceIndex()
    for track in tracks:
        sequence_index.take(track.sequence_index.runs)
    return sequence_index


def _confirmed(
    near: Sequence[Hole], tracks: Iterable[Track], since: bytes, until: bytes
) -> Iterator[Hole]:
    """Yield the holes that are there in a wider look, and those whose lines stand far from their time.

    Only the first and the last line of a hole are looked for.
    """
    ends = {
        (hole.gap.boot, number)
        for hole in near[:_CONFIRMED_MAX]
        for number in (hole.gap.first, hole.gap.last)
    }
    seen = _located(ends, _soon_read(tracks), LOWEST, HIGHEST)
    for hole in near:
        boot, first, last = hole.gap.boot, hole.gap.first, hole.gap.last
        lines = [seen.get((boot, number)) for number in (first, last)]
        if any(line is not None and since <= line[0] < until for line in lines):
            yield hole._replace(astray=True)
        elif None in lines:
            gap = Gap(boot, first + (lines[0] is not None), last - (lines[1] is not None))
            yield hole._replace(gap=gap)


def _soon_read(tracks: Iterable[Track]) -> Iterator[Track]:
    left = _LOOK_BYTES
    for track in sorted(tracks, key=lambda track: track.size):
        left -= track.size
        if left < 0:
            return
        yield track


def _bounded(gap: Gap, lines: dict[Number, Said]) -> Hole:
    before, after = lines.get((gap.boot, gap.first - 1)), lines.get((gap.boot, gap.last + 1))
    service = (before or after or (b"", ""))[1]
    return Hole(gap, service, before[0] if before else LOWEST, after[0] if after else HIGHEST)


# --- looking for single lines


def _located(
    wanted: Collection[Number], tracks: Iterable[Track], since: bytes, until: bytes
) -> dict[Number, Said]:
    """Return when numbered lines were said, and by which service; only of those that are found."""
    left = set(wanted)
    found: dict[Number, Said] = {}
    boots = tuple({boot.encode() for boot, _ in wanted})
    for track in tracks:
        if not left:
            break
        for block in Scan(track, Prefilter((boots,)), since, until).whole_blocks():
            for number in [number for number in left if _holds(block, *number)]:
                found[number] = _said(track, _line_of(block, *number))
                left.discard(number)
    return found


def _holds(block: Block, boot: str, number: int) -> bool:
    runs = block.numbers.runs.get(boot.encode(), ())
    return any(first <= number <= last for first, last in runs) or any(
        number_of(line) == (boot.encode(), number) for line in block.numbers.others
    )


def _line_of(block: Block, boot: str, number: int) -> bytes:
    """Return a line that a block holds."""
    at = block.find(f'"boot":"{boot}","seq":{number}}}'.encode())
    if at < 0:
        numbered = (boot.encode(), number)
        return next(line for line in block.numbers.others if number_of(line) == numbered)
    begin = block.buffer.rfind(b"\n", 0, at) + 1
    end = block.buffer.find(b"\n", at, block.size)
    return block.part(begin, end if end >= 0 else block.size)


def _said(track: Track, line: bytes) -> Said:
    key = track.key_of(line) or LOWEST
    return key, str(track.record_of(unwrap(line).text, key)[SERVICE])
