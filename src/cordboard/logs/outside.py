"""Whether a session that a window does not show has lines elsewhere: asked only where nothing was found."""

from collections.abc import Iterator, Sequence
from typing import Final

from cordboard.logs.attribution import Trail
from cordboard.logs.query import Query
from cordboard.logs.search import Search
from cordboard.logs.track import Track

_LOOK_BYTES: Final = 2 << 30  # a second at most without the compiled part, a sixth of it with


def lines_outside(session: str, tracks: Sequence[Track]) -> int:
    """Return how many lines of a session there are at any time, as far as that is soon told.

    The newest files are looked at; compressed ones, which would have to be unpacked, are not.
    """
    trail = Trail(session)
    Search(Query(session=session), trail, list(_soon_read(tracks)), lambda _: None).learn()
    return sum(trail.services.values())


def _soon_read(tracks: Sequence[Track]) -> Iterator[Track]:
    left = _LOOK_BYTES
    for track in sorted(tracks, key=lambda track: track.modified, reverse=True):
        if not track.tape.can_seek:
            continue
        left -= track.size
        if left < 0:
            return
        yield track
