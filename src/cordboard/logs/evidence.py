"""What the lines prove of those that are not there: lost ones, rotated ones, silent services."""

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from cordboard.contract.record import SERVICE, SERVICES, SESSION_ID
from cordboard.logs.attribution import Trail
from cordboard.logs.coverage import Shortfall
from cordboard.logs.expected import began, over, unclosed
from cordboard.logs.formats.continuation import Assembler
from cordboard.logs.formats.decode import record_of
from cordboard.logs.formats.wrappers import unwrap
from cordboard.logs.prefilter import Prefilter
from cordboard.logs.scan import Scan
from cordboard.logs.sequence import Gap, Ledger
from cordboard.logs.timespec import HIGHEST, LOWEST, seconds, shifted
from cordboard.logs.timestamps import tail_at
from cordboard.logs.track import BROWSER, Head, Track

_SETTLED_S: Final = 5.0  # so old a line has been followed by those of others, if it ever will
_LOCATED_MAX: Final = 50
_CONFIRMED_MAX: Final = 16
_LOOK_BYTES: Final = 128 << 20  # how much is searched for lines that are not where they belong
_SAMPLE_BYTES: Final = 16 << 10
HOSTS: Final = {"bot": "runner", "browser": "interface"}
"""In whose log a service's lines are."""


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
    found = [_located(gap, tracks, *where) for gap in gaps[:_LOCATED_MAX]]
    found += [Hole(gap, "", LOWEST, HIGHEST) for gap in gaps[_LOCATED_MAX:]]
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
    """Say whether a line that stands far from its time would be found wherever it is."""
    return sum(track.size for track in tracks) <= _LOOK_BYTES


def _confirmed(
    near: Sequence[Hole], tracks: Iterable[Track], since: bytes, until: bytes
) -> Iterator[Hole]:
    """Yield the holes that are there in a wider look, and those whose lines stand far from their time.

    Only the first and the last line of a hole are looked for.
    """
    seen = _elsewhere(near[:_CONFIRMED_MAX], tracks)
    for hole in near:
        boot, first, last = hole.gap.boot, hole.gap.first, hole.gap.last
        keys = [seen.get((boot, number)) for number in (first, last)]
        if any(key is not None and since <= key < until for key in keys):
            yield hole._replace(astray=True)
        elif None in keys:
            gap = Gap(boot, first + (keys[0] is not None), last - (keys[1] is not None))
            yield hole._replace(gap=gap)


def _elsewhere(near: Iterable[Hole], tracks: Iterable[Track]) -> dict[tuple[str, int], bytes]:
    """Return when the lines at the ends of holes were said, where any is found out of its place."""
    wanted = {(hole.gap.boot, at) for hole in near for at in (hole.gap.first, hole.gap.last)}
    needles = [f'"boot":"{boot}","seq":{number}}}'.encode() for boot, number in wanted]
    terms = (*needles, *(needle.replace(b'"', b'\\"') for needle in needles))
    found: dict[tuple[str, int], bytes] = {}
    left = _LOOK_BYTES
    for track in sorted(tracks, key=lambda track: track.size):
        left -= track.size
        if left < 0:
            break
        for entry in Scan(track, Prefilter((terms,)), LOWEST, HIGHEST, exact=True).entries():
            at = tail_at(entry.raw)
            if at >= 0:
                mark = entry.raw[at + 9 : at + 17].decode(), int(entry.raw[at + 25 : -1])
                if mark in wanted:
                    found[mark] = entry.key
    return found


def beginnings(tracks: Sequence[Track], boots: Iterable[str]) -> Iterator[Gap]:
    """Yield what is missing before the first line of processes that began for one session.

    One whose earlier lines are there, long before the session, did not.
    """
    ledger = _whole(tracks)
    for boot in sorted(boots):
        first = ledger.first(boot)
        if first is not None and first > 1 and not _line(boot, first - 1, tracks, LOWEST, HIGHEST):
            yield Gap(boot, 1, first - 1)


def _whole(tracks: Iterable[Track]) -> Ledger:
    ledger = Ledger()
    for track in tracks:
        ledger.take(track.ledger.runs)
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


def looked_at(service: str, head: Head, tracks: Iterable[Track]) -> Head:
    """Return the same, looked at closely: a text may stand first, or lines said side by side."""
    own = (track for track in tracks if track.service == service and track.kind == "file")
    track = next((track for track in own if track.head() == head), None)
    if track is None:
        return head
    lines = track.tape.read(track.begin, _SAMPLE_BYTES).split(b"\n")
    numbers: dict[str, list[int]] = {}
    key = head.key
    for entry in Assembler(track.formats).entries(
        ((0, line) for line in lines[:-1] or lines), lambda: head.key
    ):
        if BROWSER in entry.raw:
            continue
        key = min(key, entry.key)
        at = tail_at(entry.raw)
        if at >= 0:
            boot = entry.raw[at + 9 : at + 17].decode()
            numbers.setdefault(boot, []).append(int(entry.raw[at + 25 : -1]))
    boot = head.boot if head.boot in numbers else next(iter(numbers), "")
    return Head(key, boot, min(numbers[boot])) if numbers else head._replace(key=key)


def uncovered(
    tracks: Sequence[Track], since: bytes, until: bytes, services: Sequence[str] = ()
) -> Iterator[tuple[str, Shortfall]]:
    """Yield the logs of which nothing is kept from a window's beginning, and why that is known.

    A process that counts its lines proves by its first one that it began there, and by any other
    that lines before it are lost. A log without numbers that begins within the window is held to
    have lost some only where it is rotated. Where all begin behind the window, all are named.
    """
    heads = earliest(tracks)
    wanted = {HOSTS.get(service, service) for service in services}
    heads = {name: heads[name] for name in heads if name in wanted} or heads
    late = {name: head for name, head in heads.items() if head.key > since}
    behind = len(late) == len(heads) and all(head.key >= until for head in late.values())
    several = _rotated_ones(tracks)
    if not behind:  # what no number and no rotation tells of is not looked at
        late = {n: head for n, head in late.items() if head.seq > 1 or n in several}
    own: dict[str, list[Track]] = {}
    for track in tracks:
        own.setdefault(track.service, []).append(track)
    late = {name: looked_at(name, head, own[name]) for name, head in late.items()}
    behind = behind and all(head.key >= until for head in late.values())
    for service, head in late.items() if behind or since > LOWEST else ():
        if head.key <= since:
            continue
        if head.seq > 1:
            yield service, rotated(head)
        elif behind or (head.seq == 0 and service in several):
            yield service, Shortfall("starts_after_window", f"first line at {head.key.decode()}")


def latest(tracks: Iterable[Track]) -> bytes | None:
    """Return when the last line that is kept was said; None where that cannot be told."""
    newest = unsure = LOWEST
    for track in tracks:
        if track.kind != "file":
            return None
        if not track.tape.can_seek:
            unsure = max(unsure, track.modified)
            continue
        begin = max(0, track.size - _SAMPLE_BYTES)
        lines = track.tape.read(begin, _SAMPLE_BYTES).split(b"\n")
        newest = max([newest, *filter(None, map(track.key_of, lines[1 if begin else 0 :]))])
    return newest if newest > unsure else None


def _rotated_ones(tracks: Iterable[Track]) -> set[str]:
    """Return the services whose log is kept in several files that lie side by side."""
    seen: set[tuple[str, str]] = set()
    several = set()
    for track in tracks:
        place = (track.service, os.path.dirname(track.name))
        if place in seen:
            several.add(track.service)
        seen.add(place)
    return several


def rotated(head: Head) -> Shortfall:
    """Return in words that a log has lost its beginning."""
    return Shortfall(
        "rotated", f"first line at {head.key.decode()}, seq {head.seq} of boot {head.boot}"
    )


def why_silent(
    service: str,
    reason: str,
    trail: Trail,
    tracks: Iterable[Track],
    heads: Mapping[str, Head],
) -> Shortfall:
    """Return why a service said nothing of a session though it should have."""
    host = HOSTS.get(service, service)
    head = heads.get(host)
    if not over(trail) and seconds(trail.last) > time.time() - _SETTLED_S:
        return Shortfall("not_settled", reason)
    if head is None:
        apart = any(name in SERVICES for name in heads)
        return Shortfall("no_source" if apart else "silent", reason)
    if head.key > trail.last:
        return Shortfall("starts_after_window", f"first line at {head.key.decode()}; {reason}")
    if head.seq > 1 and (head.key >= trail.first or not began(trail)):
        head = looked_at(host, head, tracks)
        if head.seq > 1:
            return rotated(head)
    own = [track for track in tracks if track.service == host]
    if own and all(_knows_no_session(track, trail) for track in own):
        return Shortfall("no_session_id", reason)
    return Shortfall("silent", reason)


def lost_ends(trail: Trail, until: bytes) -> Iterator[Shortfall]:
    """Yield why the last lines of pages are missing, of a session that ended well before ``until``."""
    if trail.ended is None or shifted(trail.ended, _SETTLED_S) >= until:
        return
    recent = seconds(trail.ended) > time.time() - _SETTLED_S
    for reason in unclosed(trail):
        yield Shortfall("not_settled" if recent else "silent", reason)


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
    once = needle.replace(b'"', b'\\"')
    for spelt in (needle, once, once.replace(b"\\", b"\\\\").replace(b'"', b'\\"')):
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
