"""Whether the lines of an answer are all there were, as far as the lines themselves prove it.

What is missing: lost lines, the beginnings of logs that were rotated, services that should have spoken of a
session, the ends of pages.
"""

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from cordboard.contract.record import SERVICES, SESSION_ID
from cordboard.logs.coverage import Shortfall
from cordboard.logs.filters import Prefilter
from cordboard.logs.formats.continuation import Assembler
from cordboard.logs.gaps import beginnings, holes
from cordboard.logs.query import Query
from cordboard.logs.scan import Scan
from cordboard.logs.search import Search
from cordboard.logs.session import BROWSER, SessionFacts, began, over, silent, unclosed
from cordboard.logs.stream import PAGE_LINE, Head, Track
from cordboard.logs.timespec import LOWEST, seconds, shifted
from cordboard.logs.timestamps import own_number

_SETTLED_S: Final = 5.0  # so old a line has been followed by those of others, if it ever will
_SAMPLE_BYTES: Final = 16 << 10  # of the beginning, or the end, of a log
_OUTSIDE_BYTES: Final = 2 << 30  # a second at most
HOSTS: Final = {"bot": "runner", "browser": "interface"}
"""In whose log a service's lines are."""

Missing = tuple[str, Shortfall]
"""A service, and why lines of it are missing."""


def missing(
    query: Query, tracks: Sequence[Track], facts: SessionFacts | None, outside: int
) -> Iterator[Missing]:
    """Yield what is missing, and why.

    Args:
        query: What was asked for.
        tracks: All streams; their ledgers hold what was seen.
        facts: Of the session that was asked for; None for a window.
        outside: How many lines of the session are outside of the window.
    """
    since, until = query.first, query.end
    if facts is not None and not facts.services:
        if not outside:
            where = " in the window" if query.since or query.until else ""
            why = Shortfall("silent", f"no line{where} has this session id")
            yield f"session {facts.session}", why
        yield from _uncovered(tracks, since, until, query.services)
        return
    if facts is not None:
        yield from _missing_of_session(query, tracks, facts)
        since = max(since, facts.first)
        until = min(until, shifted(facts.last, 0.000001))
    elif query.since or query.until:
        yield from _uncovered(tracks, since, until, query.services)
    for hole in holes(tracks, since, until, query.services, exact=query.exact):
        yield hole.service or "unknown", hole.shortfall()


def lines_outside(query: Query, tracks: Sequence[Track], facts: SessionFacts) -> int:
    """Return how many lines of the session of `facts` the window of `query` hides, as far as that is soon told.

    Asked where the window shows none. The newest of `tracks` are looked at, 2 GB of them at most; compressed ones,
    which would have to be read whole, are not.
    """
    if facts.services or query.follow or not (query.since or query.until):
        return 0
    near, left = [], _OUTSIDE_BYTES
    for track in sorted(tracks, key=lambda track: track.modified, reverse=True):
        if not track.byte_reader.can_seek:
            continue
        left -= track.size
        if left < 0:
            break
        near.append(track)
    whole = SessionFacts(facts.session)
    Search(Query(session=facts.session), whole, near, lambda _: None).learn()
    return sum(whole.services.values())


# --- of a session


def _missing_of_session(
    query: Query, tracks: Sequence[Track], facts: SessionFacts
) -> Iterator[tuple[str, Shortfall]]:
    heads = _earliest(tracks)
    whole = query.since is None
    mute = list(silent(facts, whole=whole, cut_off=query.until is not None))
    for service, reason in mute:
        yield service, _why_silent(service, reason, facts, tracks, heads)
    for why in _lost_ends(facts, query.end):
        yield BROWSER, why
    for service, head in heads.items():
        cut_off = head.key >= facts.first or (whole and not began(facts))
        if service in facts.services and service not in dict(mute) and head.seq > 1 and cut_off:
            head = _looked_at(service, head, tracks)  # noqa: PLW2901 - the same one
            if head.seq > 1:
                yield service, _rotated(head)
    for service, head in _other_heads(facts, tracks):
        if head.key >= facts.first or (whole and not began(facts)):
            yield service, _rotated(head)
    if whole or any(step.event == "bot.forked" for step in facts.steps):
        for gap in beginnings(tracks, facts.alone):
            yield "bot", Shortfall("gap", str(gap))


def _other_heads(facts: SessionFacts, tracks: Sequence[Track]) -> Iterator[tuple[str, Head]]:
    """Yield how logs begin whose name is not their service's, where that lost lines of the session's processes."""
    seen: set[str] = set()
    for track in tracks:
        head = track.head() if track.kind == "file" else None
        service = facts.boots.get(head.boot) if head is not None else None
        if head is None or service is None or head.seq <= 1 or head.boot in seen:
            continue
        if HOSTS.get(service, service) != track.service:
            head = _looked_at(track.service, head, [track])
            if head.seq > 1 and not _holds_before(head, tracks):
                seen.add(head.boot)
                yield service, head


def _holds_before(head: Head, tracks: Sequence[Track]) -> bool:
    """Return whether another file holds the line before a log's first one: it was rotated, and is kept."""
    runs = [
        run for track in tracks for run in track.sequence_index.runs.get(head.boot.encode(), ())
    ]
    return any(first < head.seq for first, _ in runs)


def _why_silent(
    service: str,
    reason: str,
    facts: SessionFacts,
    tracks: Iterable[Track],
    heads: Mapping[str, Head],
) -> Shortfall:
    """Return why a service said nothing of a session though it should have."""
    host = HOSTS.get(service, service)
    head = heads.get(host)
    if not over(facts) and seconds(facts.last) > time.time() - _SETTLED_S:
        return Shortfall("not_settled", reason)
    if head is None:
        apart = any(name in SERVICES for name in heads)
        return Shortfall("no_source" if apart else "silent", reason)
    if head.key > facts.last:
        return Shortfall("starts_after_window", f"first line at {head.key.decode()}; {reason}")
    if head.seq > 1 and (head.key >= facts.first or not began(facts)):
        head = _looked_at(host, head, tracks)
        if head.seq > 1:
            return _rotated(head)
    own = [track for track in tracks if track.service == host]
    if own and all(_knows_no_session(track, facts) for track in own):
        return Shortfall("no_session_id", reason)
    return Shortfall("silent", reason)


def _lost_ends(facts: SessionFacts, until: bytes) -> Iterator[Shortfall]:
    """Yield why the last lines of pages are missing, of a session that ended well before ``until``."""
    if facts.ended is None or shifted(facts.ended, _SETTLED_S) >= until:
        return
    recent = seconds(facts.ended) > time.time() - _SETTLED_S
    for reason in unclosed(facts):
        yield Shortfall("not_settled" if recent else "silent", reason)


def _knows_no_session(track: Track, facts: SessionFacts) -> bool:
    """Say whether a stream spoke during a session, and none of its lines says any session."""
    since, until = facts.first, shifted(facts.last, 0.000001)
    records = [
        track.record_of(entry.raw, entry.key)
        for entry in Scan(track, Prefilter(), since, until).entries()
    ]
    return bool(records) and all(record[SESSION_ID] is None for record in records)


# --- where a log begins


def _earliest(tracks: Iterable[Track]) -> dict[str, Head]:
    """Return how the oldest file of each service begins."""
    found: dict[str, Head] = {}
    for track in tracks:
        head = track.head() if track.kind == "file" else None
        if head is not None and (track.service not in found or head < found[track.service]):
            found[track.service] = head
    return found


def _looked_at(service: str, head: Head, tracks: Iterable[Track]) -> Head:
    """Return the same, looked at closely: a text may stand first, or lines said side by side."""
    own = (track for track in tracks if track.service == service and track.kind == "file")
    track = next((track for track in own if track.head() == head), None)
    if track is None:
        return head
    lines = track.byte_reader.read(track.begin, _SAMPLE_BYTES).split(b"\n")
    numbers: dict[str, list[int]] = {}
    key = head.key
    for entry in Assembler(track.formats).entries(
        ((0, line) for line in lines[:-1] or lines), lambda: head.key
    ):
        if PAGE_LINE in entry.raw:
            continue
        key = min(key, entry.key)
        if (numbered := own_number(entry.raw)) is not None:
            numbers.setdefault(numbered[0].decode(), []).append(numbered[1])
    boot = head.boot if head.boot in numbers else next(iter(numbers), "")
    return Head(key, boot, min(numbers[boot])) if numbers else head._replace(key=key)


def _uncovered(
    tracks: Sequence[Track], since: bytes, until: bytes, services: Sequence[str] = ()
) -> Iterator[tuple[str, Shortfall]]:
    """Yield the logs of which nothing is kept from a window's beginning, and why that is known.

    A process that counts its lines proves by its first one that it began there, and by any other
    that lines before it are lost. A log without numbers that begins within the window is held to
    have lost some only where it is rotated. Where all begin behind the window, all are named.
    """
    heads = _earliest(tracks)
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
    late = {name: _looked_at(name, head, own[name]) for name, head in late.items()}
    behind = behind and all(head.key >= until for head in late.values())
    for service, head in late.items() if behind or since > LOWEST else ():
        if head.key <= since:
            continue
        if head.seq > 1:
            yield service, _rotated(head)
        elif behind or (head.seq == 0 and service in several):
            yield service, Shortfall("starts_after_window", f"first line at {head.key.decode()}")


def latest(tracks: Iterable[Track]) -> bytes | None:
    """Return the time of the last line that `tracks` hold, as a key; None where that cannot be told."""
    newest = unsure = LOWEST
    for track in tracks:
        if track.kind != "file":
            return None
        if not track.byte_reader.can_seek:
            unsure = max(unsure, track.modified)
            continue
        begin = max(0, track.size - _SAMPLE_BYTES)
        lines = track.byte_reader.read(begin, _SAMPLE_BYTES).split(b"\n")
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


def _rotated(head: Head) -> Shortfall:
    """Return in words that a log has lost its beginning."""
    return Shortfall(
        "rotated", f"first line at {head.key.decode()}, seq {head.seq} of boot {head.boot}"
    )
