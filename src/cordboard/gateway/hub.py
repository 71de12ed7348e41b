"""Changes of state, from one subscription to everyone in this process who waits for a session."""

import asyncio
import contextlib
import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from cordboard.contract.errors import StoreUnavailableError
from cordboard.emit import get_logger
from cordboard.store import Outage, RedisStore, StateChange

RECONNECT_S: Final = 0.5
DRAIN_S: Final = 10.0  # what waits for a session has so long, once we are asked to stop

log = get_logger("hub")

Waiter = asyncio.Queue[StateChange | None]


class Hub:
    """Hands each change to the queues of those who wait for its session.

    A None in a queue means: look for yourself, as the connection was lost or we are asked to stop.
    """

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._waiters: defaultdict[str, set[Waiter]] = defaultdict(set)
        self.closes_at = math.inf  # by the loop's clock; no answer is to be waited for beyond it

    @property
    def draining(self) -> bool:
        """Whether streams are to end now."""
        return self.closes_at < math.inf

    def drain(self) -> None:
        """End what has no end of its own, and bound what waits."""
        self.closes_at = asyncio.get_running_loop().time() + DRAIN_S
        self._wake()

    @contextlib.contextmanager
    def waiting(self, session_id: str) -> Iterator[Waiter]:
        """Receive the changes of one session for the length of a block."""
        queue: Waiter = asyncio.Queue()
        self._waiters[session_id].add(queue)
        try:
            yield queue
        finally:
            self._waiters[session_id].discard(queue)
            if not self._waiters[session_id]:
                del self._waiters[session_id]

    async def run(self) -> None:
        """Listen to each shard until cancelled; come back after every loss of a connection."""
        async with asyncio.TaskGroup() as group:
            for shard in self._store.shards:
                group.create_task(self._follow(shard))

    async def _follow(self, shard: RedisStore) -> None:
        outage = Outage(log, "Redis is away; joins are refused until it is back")
        while True:
            try:
                await self._listen(shard, outage)
            except StoreUnavailableError as error:
                outage.record_failure(error)
                await asyncio.sleep(RECONNECT_S)

    async def _listen(self, shard: RedisStore, outage: Outage) -> None:
        async with shard.changes() as changes:
            outage.record_success()
            self._wake()
            async for change in changes:
                for queue in self._waiters.get(change.session_id, ()):
                    queue.put_nowait(change)

    def _wake(self) -> None:
        for waiters in list(self._waiters.values()):
            for queue in waiters:
                queue.put_nowait(None)


async def told(waiter: Waiter, timeout_s: float) -> None:
    """Wait for a change, or long enough that looking at the record again makes sense."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(waiter.get(), timeout_s)
