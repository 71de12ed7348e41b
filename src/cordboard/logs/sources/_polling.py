"""Follows a store by asking for its newest lines again and again, for stores whose own tail loses lines."""

import time
from collections.abc import Callable, Iterator
from threading import Event
from typing import Final

from cordboard.logs.sources._slices import NANOSECONDS, Slice

POLL_S: Final = 2.0
"""How often a store is asked: VictoriaLogs returns a line 1 to 3 s after it was written, so more gains nothing."""


def poll(
    read: Callable[[Slice], Iterator[bytes]],
    closed: Event,
    overlap_s: float,
    poll_s: float = POLL_S,
) -> Iterator[bytes]:
    """Yield each line that arrives from now on, once, until `closed` is set.

    Args:
        read: Returns the lines that the store has of a window.
        closed: Ends the loop.
        overlap_s: How far back each request reads, in seconds; a line that arrives later is not returned.
        poll_s: The seconds between two requests.
    """
    began = time.time_ns()
    seen: dict[bytes, int] = {}
    while not closed.wait(poll_s):
        now = time.time_ns()
        begin = max(began, now - int(overlap_s * NANOSECONDS))
        for line in read(Slice(begin, now + NANOSECONDS)):
            if line not in seen:
                yield line
            seen[line] = now
        # A line is forgotten when no later window can return it.
        seen = {line: at for line, at in seen.items() if at >= begin}
