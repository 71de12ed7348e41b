"""Hints from recent joins: whether to ask the room first, or to claim the session id first.

A new session takes the fewest commands if its id is claimed before its room is asked. A join that is
refused takes the fewest, and leaves nothing to undo, if its room is asked first. A wrong hint costs one
round trip and decides nothing.
"""

import time
from typing import Final

BUSY_S: Final = 60.0  # a call that was live a minute ago is probably live
FULL_S: Final = 1.0  # a full queue shrinks within seconds
ROOMS_MAX: Final = 4096  # bounds the memory; beyond it the oldest hints are lost


class JoinHints:
    """The rooms and the shards that will probably refuse a join."""

    def __init__(self) -> None:
        self._busy_until: dict[str, float] = {}  # ordered: the oldest note first
        self._full_until: dict[int, float] = {}

    def is_refusal_likely(self, room: str, shard: int) -> bool:
        """Return whether ``room`` is probably busy, or the queue of ``shard`` full."""
        now = time.monotonic()
        return self._busy_until.get(room, now) > now or self._full_until.get(shard, now) > now

    def note_busy(self, room: str) -> None:
        """Note that ``room`` has a live session."""
        self._busy_until.pop(room, None)  # moves the room to the end of the order
        self._busy_until[room] = time.monotonic() + BUSY_S
        if len(self._busy_until) > ROOMS_MAX:
            del self._busy_until[next(iter(self._busy_until))]

    def note_free(self, room: str) -> None:
        """Note that ``room`` has no live session."""
        self._busy_until.pop(room, None)

    def note_full(self, shard: int) -> None:
        """Note that the queue of ``shard`` is full."""
        self._full_until[shard] = time.monotonic() + FULL_S
