"""How fast a side of a stream may send: one event loop carries all streams of an edge."""

import asyncio
import time
from typing import Final

from cordboard.edge.streams import metrics
from cordboard.edge.streams.closing import Side
from cordboard.edge.streams.limits import StreamLimits
from cordboard.emit import get_logger

# To read and to send a message need not wait for anything, so a flood would let no other stream come in between.
IN_A_ROW: Final = 16
"""So many messages are copied before other streams have their turn; they take about a millisecond."""

log = get_logger("stream")


class Pace:
    """The pace of one side, which is not read while it is ahead of its limit.

    Nothing is lost: the side has to wait, as if the other one did not read.

    Args:
        limits: The limits of streams.
        sender: The side.
    """

    def __init__(self, limits: StreamLimits, sender: Side) -> None:
        self._message_s = 1 / limits.messages_per_s
        self._byte_s = 1 / limits.bytes_per_s
        self._burst_s = limits.burst_s
        self._sender: Side = sender
        self._paid_until = 0.0  # what was read is worth the time until then
        self._in_a_row = 0
        self._was_slowed = False

    async def keep(self, size: int) -> None:
        """Wait until the next message may be read, after one of `size` bytes."""
        now = time.monotonic()
        cost_s = self._message_s + size * self._byte_s
        self._paid_until = max(self._paid_until, now) + cost_s
        ahead_s = self._paid_until - now - self._burst_s
        self._in_a_row += 1
        if ahead_s > 0:
            self._note()
            await asyncio.sleep(ahead_s)
        elif self._in_a_row % IN_A_ROW == 0:
            await asyncio.sleep(0)

    def _note(self) -> None:
        if self._was_slowed:
            return
        self._was_slowed = True
        metrics.streams_slowed.labels(self._sender).inc()
        log.warning(
            "A side of a stream sends too fast; it is read more slowly", sender=self._sender
        )
