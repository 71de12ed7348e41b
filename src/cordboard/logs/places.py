"""Where some bytes stand in files, and which numbers lines have: by the C part, `cordboard.logs._search`."""

from collections.abc import Collection, Sequence
from typing import Final

from cordboard.logs import compiled
from cordboard.logs.ledger import Run, joined
from cordboard.logs.parallel import HANDS
from cordboard.logs.scan import Scan
from cordboard.logs.tape import FileTape
from cordboard.logs.tracks import Progress

_NEEDLE_BYTES: Final = range(2, 1025)
_BOOT_BYTES: Final = 8
_ALONE_UP_TO_BYTES: Final = 2 << 20

Runs = dict[bytes, list[Run]]


def places_in(
    scans: Sequence[Scan], needle: bytes, progress: Progress
) -> list[list[int] | None] | None:
    """Return, for each scan of a plain file, where in its window some bytes stand, in order.

    None for a window that has to be read as others are: it is cut while it is read, or its lines may be
    in pieces. None for all where nothing searches so.
    """
    if compiled.search is None or len(needle) not in _NEEDLE_BYTES:
        return None
    ranges = _ranges(scans)
    return compiled.search.places(ranges, needle, _hands(ranges), progress)


def numbers_in(
    scans: Sequence[Scan], boots: Collection[bytes], progress: Progress
) -> list[Runs | None] | None:
    """Return, for each such scan, the numbers that lines of some processes have; None as above."""
    if compiled.search is None or any(len(boot) != _BOOT_BYTES for boot in boots):
        return None
    ranges = _ranges(scans)
    told = compiled.search.numbers(ranges, b"".join(boots), _hands(ranges), progress)
    return [None if found is None else _by_boot(found) for found in told]


def _by_boot(found: Sequence[tuple[bytes, Run]]) -> Runs:
    runs: Runs = {}
    for boot, run in found:
        runs.setdefault(boot, []).append(run)
    return {boot: joined(several) for boot, several in runs.items()}


def _ranges(scans: Sequence[Scan]) -> list[tuple[int, int, int]]:
    return [(_descriptor(scan), *scan.ends()) for scan in scans]


def _descriptor(scan: Scan) -> int:
    assert isinstance(scan.track.tape, FileTape)  # noqa: S101 - as is asked for
    return scan.track.tape.fd


def _hands(ranges: Sequence[tuple[int, int, int]]) -> int:
    return HANDS if sum(end - begin for _, begin, end in ranges) > _ALONE_UP_TO_BYTES else 1
