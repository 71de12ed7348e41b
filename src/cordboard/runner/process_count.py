"""The number of processes that a bot has started."""

import asyncio
from typing import Final

from cordboard.processes import descendants_of

# How often they are counted; counting those of a bot with 20 threads takes 0.5 ms.
PERIOD_S: Final = 2.0


async def wait_for_too_many(pid: int, limit: int) -> None:
    """Return when the process `pid` has more than `limit` descendants."""
    while len(descendants_of(pid, limit)) <= limit:  # noqa: ASYNC110 - nothing reports a new process
        await asyncio.sleep(PERIOD_S)
