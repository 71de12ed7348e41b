"""What the numbers of the lines prove: which are missing, from whom, and between which moments."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from stringzilla import find

from cordboard.contract.record import SERVICE
from cordboard.logs.carriers import unwrap
from cordboard.logs.coverage import Shortfall
from cordboard.logs.ledger import Gap, Ledger
from cordboard.logs.prefilter import Prefilter
from cordboard.logs.records import record_of
from cordboard.logs.scan import Scan
from cordboard.logs.times import HIGHEST, LOWEST
from cordboard.logs.track import Track

_LOCATED_MAX: Final = 50


@dataclass(frozen=True, slots=True)
class Hole:
    """A gap with its bounds.

    Attributes:
        gap: The missing numbers.
        service: Who would have said them.
        after: When the line before them was said.
        before: When the line behind them was said.
    """

    gap: Gap
    service: str
    after: bytes
    before: bytes

    def shortfall(self) -> Shortfall:
        """Return it in words."""
        bounds = f"between {self.after.decode()} and {self.before.decode()}"
        return Shortfall("gap", f"{self.gap}, {bounds}")


def holes(
    tracks: Sequence[Track], since: bytes, until: bytes, services: Sequence[str] = ()
) -> list[Hole]:
    """Return what is missing in a window.

    Args:
        tracks: All streams; their ledgers hold what was seen.
        since: The window's beginning.
        until: Its end.
        services: Whose lines matter; empty for all.
    """
    ledger = Ledger()
    for track in tracks:
        ledger.take(track.ledger)
    gaps = ledger.gaps()
    found = [_located(gap, tracks, since, until) for gap in gaps[:_LOCATED_MAX]]
    found += [Hole(gap, "", LOWEST, HIGHEST) for gap in gaps[_LOCATED_MAX:]]
    return [
        hole
        for hole in found
        if hole.after < until
        and hole.before >= since
        and (not services or not hole.service or hole.service in services)
    ]


def _located(gap: Gap, tracks: Iterable[Track], since: bytes, until: bytes) -> Hole:
    before = _line(gap.boot, gap.first - 1, tracks, since, until)
    after = _line(gap.boot, gap.last + 1, tracks, since, until)
    service = (before or after or (b"", ""))[1]
    return Hole(gap, service, before[0] if before else LOWEST, after[0] if after else HIGHEST)


def _line(
    boot: str, number: int, tracks: Iterable[Track], since: bytes, until: bytes
) -> tuple[bytes, str] | None:
    """Return when a numbered line was said, and by which service."""
    needle = f'"boot":"{boot}","seq":{number}}}'.encode()
    for spelt in (needle, needle.replace(b'"', b'\\"')):
        for track in tracks:
            for block in Scan(track, Prefilter(), since, until).blocks():
                at = find(block.data, spelt)
                if at >= 0:
                    begin = block.data.rfind(b"\n", 0, at) + 1
                    end = block.data.find(b"\n", at)
                    line = block.data[begin : end if end >= 0 else len(block.data)]
                    return _told(track, line)
    return None


def _told(track: Track, line: bytes) -> tuple[bytes, str]:
    key = track.key_of(line) or LOWEST
    record = record_of(unwrap(line).text, key, track.service, track.formats)
    return key, str(record[SERVICE])
