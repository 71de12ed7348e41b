"""Where some bytes stand in files, by the C part's threads: `cordboard.logs._search`.

It is not there where nothing could compile it; all is the same then, and slower.
"""

from collections.abc import Sequence

from cordboard.contract.typed import Final
from cordboard.logs.parallel import HANDS
from cordboard.logs.scan import Scan
from cordboard.logs.tape import FileTape
from cordboard.logs.tracks import Progress

_NEEDLE_BYTES: Final = range(2, 1025)
_ALONE_UP_TO_BYTES: Final = 2 << 20


def places_in(
    scans: Sequence[Scan], needle: bytes, progress: Progress
) -> list[list[int] | None] | None:
    """Return, for each scan of a plain file, where in its window some bytes stand, in order.

    None for a window that has to be read as others are: it is cut while it is read, or its lines may be
    in pieces. None for all where nothing searches so.
    """
    if len(needle) not in _NEEDLE_BYTES:
        return None
    try:
        from cordboard.logs import _search  # noqa: PLC0415 - a window's lines do without
    except ImportError:
        return None
    ranges = [(_descriptor(scan), *scan.ends()) for scan in scans]
    total = sum(end - begin for _, begin, end in ranges)
    hands = HANDS if total > _ALONE_UP_TO_BYTES else 1
    return _search.places(ranges, needle, hands, progress)


def _descriptor(scan: Scan) -> int:
    assert isinstance(scan.track.tape, FileTape)  # noqa: S101 - as is asked for
    return scan.track.tape.fd
