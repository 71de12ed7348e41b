"""Names that were asked for and that nobody bears: a service, a user, a room that may be misspelt.

An answer without lines is only complete where those who were asked about are known. Who is not
among the lines that were returned is looked for in others: first in the window, whatever the other
filters; a service then everywhere, as far as that is cheap, as it may merely have been silent.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from cordboard.contract.record import SERVICE, SERVICES
from cordboard.logs.completeness import HOSTS
from cordboard.logs.coverage import Shortfall
from cordboard.logs.filters import Prefilter, prefilter
from cordboard.logs.query import Query, wants
from cordboard.logs.scan import Scan
from cordboard.logs.session import SessionFacts
from cordboard.logs.stream import Track
from cordboard.logs.timespec import HIGHEST, LOWEST

_LOOK_BYTES: Final = 256 << 20  # what is searched beyond the window, of all streams together
_ENDS_BYTES: Final = 256 << 10  # what is searched of each stream beyond that, at both ends
_HITS_MAX: Final = 1000  # of one part: a name that means something else there
_LISTED: Final = 8


def unheard_services(
    query: Query, returned: Iterable[str], tracks: Sequence[Track], facts: SessionFacts | None
) -> Iterator[tuple[str, Shortfall]]:
    """Yield each service that was asked for, and is not known from anything that was read.

    Args:
        query: What was asked for.
        returned: The services of the lines that were returned.
        tracks: All streams.
        facts: Of the session that was asked for; None for a window.
    """
    known = {*returned, *(facts.services if facts else ()), *(track.service for track in tracks)}
    for name in query.services:
        if {name, HOSTS.get(name, name)} & known:
            continue
        if not query.follow and _is_in_window(
            Query(query.since, query.until, services=(name,)), query, tracks
        ):
            continue
        if not any(_speaks(track, name, budget) for track, budget in _budgets(tracks)):
            words = f"none of the lines read is from this service{_suggestion(name, known)}"
            yield name, Shortfall("no_source", words)


def unheard_so_far(query: Query, tracks: Sequence[Track]) -> Iterator[str]:
    """Yield a sentence for each service that `query` waits for, and that nothing in `tracks` tells of yet."""
    for name, why in unheard_services(query, (), tracks, None):
        meant = why.detail.partition("; ")[2]
        words = f"No lines of {name} so far{f'; {meant}' if meant else ''}"
        yield words if words.endswith("?") else f"{words}."


def unheard_people(query: Query, tracks: Sequence[Track]) -> Iterator[str]:
    """Yield a sentence for the user, and for the room, that `query` names and that no line of `tracks` belongs to."""
    for what, name, alone in (
        ("user", query.user, Query(query.since, query.until, user=query.user)),
        ("room", query.room, Query(query.since, query.until, room=query.room)),
    ):
        if name is not None and not _is_in_window(alone, query, tracks):
            yield f"None of the lines read belongs to {what} {name}."


def _is_in_window(alone: Query, asked: Query, tracks: Sequence[Track]) -> bool:
    """Say whether a line of the window passes one filter alone, though none passed all."""
    if alone == asked._replace(exact=False):
        return False
    terms = prefilter(alone)
    return any(
        wants(alone, track.record_of(entry.raw, entry.key))
        for track in tracks
        for entry in Scan(track, terms, asked.first, asked.end, exact=asked.exact).entries()
    )


# --- beyond the window


def _budgets(tracks: Sequence[Track]) -> Iterator[tuple[Track, int]]:
    """Yield each stream with how many of its bytes may be searched."""
    left = _LOOK_BYTES
    for track in sorted(tracks, key=lambda track: track.size):
        share = 0 if not track.byte_reader.can_seek else min(track.size, left)
        left -= share
        yield track, share


def _speaks(track: Track, name: str, budget: int) -> bool:
    """Say whether one of a stream's lines is of a service."""
    parts = [(0, max(budget, _ENDS_BYTES))]
    if budget < track.size and track.byte_reader.can_seek:
        parts.append((max(0, track.size - _ENDS_BYTES), track.size))
    spelt = tuple(f"{quote}{name}{quote}".encode() for quote in ('"', '\\"'))
    return any(
        track.record_of(entry.raw, entry.key)[SERVICE] == name
        for part in parts
        for entry in islice(
            Scan(track, Prefilter((spelt,)), LOWEST, HIGHEST, part=part).entries(), _HITS_MAX
        )
    )


# --- words


def _suggestion(name: str, known: Iterable[str]) -> str:
    """Return the known name that is nearest, or else what there is, to be put behind a sentence."""
    from difflib import get_close_matches

    heard = sorted(known)
    spelt = {each.lower(): each for each in (*SERVICES, *heard)}
    near = [] if name in SERVICES else get_close_matches(name.lower(), spelt, 1)
    if near:
        return f"; did you mean {spelt[near[0]]}?"
    return f"; services found: {', '.join(heard[:_LISTED])}" if heard else ""
