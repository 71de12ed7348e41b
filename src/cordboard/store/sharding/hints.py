"""What joins have met lately: by it a store over shards guesses in which order to ask.

A new session is cheapest when its id is claimed before its room is asked; a join that is refused is
cheapest, and leaves nothing to take back, when its room is asked first. A wrong guess costs a round
trip and decides nothing.
"""

import time
from typing import Final

BUSY_S: Final = 60.0  # a call that began or was met so lately is likely to go on
FULL_S: Final = 1.0  # a queue that was full so lately is likely to be full
ROOMS_MAX: Final = 4096


class Hints:
    """The rooms and the queues that are likely to refuse a join."""

    def __init__(self) -> None:
        self._busy: dict[str, float] = {}
        self._full: dict[int, float] = {}

    def may_refuse(self, room: str, shard: int) -> bool:
        """Say whether a join is likely to meet a live session, or a full queue."""
        now = time.monotonic()
        return self._busy.get(room, now) > now or self._full.get(shard, now) > now

    def busy(self, room: str) -> None:
        """Note that a room has a session."""
        self._busy.pop(room, None)  # so that the oldest note stands first
        self._busy[room] = time.monotonic() + BUSY_S
        if len(self._busy) > ROOMS_MAX:
            del self._busy[next(iter(self._busy))]

    def free(self, room: str) -> None:
        """Note that a room had no session."""
        self._busy.pop(room, None)

    def full(self, shard: int) -> None:
        """Note that a shard's queue is at its bound."""
        self._full[shard] = time.monotonic() + FULL_S
