"""What the lines prove of those that are not there: lost ones, rotated ones, silent services."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cordboard.contract.record import SERVICE, SERVICES, SESSION_ID
from cordboard.logs.attribution import Trail
from cordboard.logs.carriers import unwrap
from cordboard.logs.coverage import Shortfall
from cordboard.logs.expected import began, over
from cordboard.logs.ledger import Gap, Ledger
from cordboard.logs.prefilter import Prefilter
from cordboard.logs.records import record_of
from cordboard.logs.scan import Scan
from cordboard.logs.times import HIGHEST, LOWEST, seconds, shifted
from cordboard.logs.track import Head, Track

_SETTLED_S: Final = 5.0  # so old a line has been followed by those of others, if it ever will
_LOCATED_MAX: Final = 50
_HOSTS: Final = {"bot": "runner", "browser": "interface"}
"""In whose log a service's lines are."""


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
    gaps = _whole(tracks).gaps()
    found = [_located(gap, tracks, since, until) for gap in gaps[:_LOCATED_MAX]]
    found += [Hole(gap, "", LOWEST, HIGHEST) for gap in gaps[_LOCATED_MAX:]]
    return [
        hole
        for hole in found
        if hole.after < until
        and hole.before >= since
        and (not services or not hole.service or hole.service in services)
    ]


def beginnings(tracks: Sequence[Track], boots: Iterable[str]) -> Iterator[Gap]:
    """Yield what is missing before the first line of processes whose whole life was looked at."""
    ledger = _whole(tracks)
    for boot in sorted(boots):
        first = ledger.first(boot)
        if first is not None and first > 1:
            yield Gap(boot, 1, first - 1)


def _whole(tracks: Iterable[Track]) -> Ledger:
    ledger = Ledger()
    for track in tracks:
        ledger.take(track.ledger)
    return ledger


# --- where a log begins


def earliest(tracks: Iterable[Track]) -> dict[str, Head]:
    """Return how the oldest file of each service begins."""
    found: dict[str, Head] = {}
    for track in tracks:
        head = track.head() if track.kind == "file" else None
        if head is not None and (track.service not in found or head < found[track.service]):
            found[track.service] = head
    return found


def rotated(head: Head) -> Shortfall:
    """Return in words that a log has lost its beginning."""
    return Shortfall(
        "rotated", f"it begins at {head.key.decode()} with seq {head.seq} of boot {head.boot}"
    )


def why_silent(
    service: str,
    reason: str,
    trail: Trail,
    tracks: Iterable[Track],
    heads: Mapping[str, Head],
) -> Shortfall:
    """Return why a service said nothing of a session though it should have."""
    host = _HOSTS.get(service, service)
    head = heads.get(host)
    if not over(trail) and seconds(trail.last) > time.time() - _SETTLED_S:
        return Shortfall("not_settled", reason)
    if head is None:
        apart = any(name in SERVICES for name in heads)
        return Shortfall("no_source" if apart else "silent", reason)
    if head.key > trail.last:
        return Shortfall("starts_after_window", f"it begins at {head.key.decode()}; {reason}")
    if head.seq > 1 and (head.key >= trail.first or not began(trail)):
        return rotated(head)
    own = [track for track in tracks if track.service == host]
    if own and all(_knows_no_session(track, trail) for track in own):
        return Shortfall("no_session_id", reason)
    return Shortfall("silent", reason)


def _knows_no_session(track: Track, trail: Trail) -> bool:
    """Say whether a stream spoke during a session, and none of its lines says any session."""
    since, until = trail.first, shifted(trail.last, 0.000001)
    records = [
        record_of(entry.raw, entry.key, track.service, track.formats)
        for entry in Scan(track, Prefilter(), since, until).entries()
    ]
    return bool(records) and all(record[SESSION_ID] is None for record in records)


# --- looking for single lines


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
                at = block.find(spelt)
                if at >= 0:
                    begin = block.buffer.rfind(b"\n", 0, at) + 1
                    end = block.buffer.find(b"\n", at, block.size)
                    return _told(track, block.part(begin, end if end >= 0 else block.size))
    return None


def _told(track: Track, line: bytes) -> tuple[bytes, str]:
    key = track.key_of(line) or LOWEST
    record = record_of(unwrap(line).text, key, track.service, track.formats)
    return key, str(record[SERVICE])
