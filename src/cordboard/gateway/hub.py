"""State changes, from one subscription per shard to all requests of this process that wait for them."""

import asyncio
import contextlib
import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from cordboard.contract.errors import StoreUnavailableError
from cordboard.emit import get_logger
from cordboard.store import Outage, RedisStore, SessionStore, StateChange

# Between two attempts to reach Redis, which fail quickly while its port is closed.
RECONNECT_S: Final = 0.5
DRAIN_S: Final = 10.0
"""How long requests may still wait after the server was asked to stop. A leave that takes its full time is
answered within it (`leave_timeout_s` of the gateway's services)."""

log = get_logger("hub")

Waiter = asyncio.Queue[StateChange | None]
"""A queue of changes. None means that changes may have been missed, or that the server stops: the reader
must read the session's record."""


class Hub:
    """Puts each state change into the queues of the requests that wait for its session.

    Args:
        store: The session store.

    Attributes:
        closes_at: When waits must end, by the clock of the event loop; infinite until `drain`.
    """

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self._waiters: defaultdict[str, set[Waiter]] = defaultdict(set)
        self.closes_at = math.inf

    @property
    def is_draining(self) -> bool:
        """Whether event streams must end now."""
        return self.closes_at < math.inf

    def drain(self) -> None:
        """End the event streams, and limit how long other requests wait."""
        self.closes_at = asyncio.get_running_loop().time() + DRAIN_S
        self._wake_all()

    @contextlib.contextmanager
    def subscribed(self, session_id: str) -> Iterator[Waiter]:
        """Return a context manager whose queue receives the state changes of `session_id`."""
        # Without a limit: a session has fewer than ten state changes, and a reader takes all it finds.
        queue: Waiter = asyncio.Queue()
        self._waiters[session_id].add(queue)
        try:
            yield queue
        finally:
            self._waiters[session_id].discard(queue)
            if not self._waiters[session_id]:
                del self._waiters[session_id]

    async def run(self) -> None:
        """Listen to all shards until cancelled; reconnect after each lost connection."""
        async with asyncio.TaskGroup() as group:
            # One subscription each: pub/sub of one server does not see the changes of another.
            for shard in self._store.shards:
                group.create_task(self._follow(shard))

    async def _follow(self, shard: RedisStore) -> None:
        outage = Outage(log, "Redis is unavailable; refusing joins")
        while True:
            try:
                await self._listen(shard, outage)
            except StoreUnavailableError as error:
                outage.record_failure(error)
                await asyncio.sleep(RECONNECT_S)

    async def _listen(self, shard: RedisStore, outage: Outage) -> None:
        async with shard.changes() as changes:
            outage.record_success()
            # Redis pub/sub keeps no messages: changes between the two connections are lost.
            self._wake_all()
            async for change in changes:
                for queue in self._waiters.get(change.session_id, ()):
                    queue.put_nowait(change)

    def _wake_all(self) -> None:
        for waiters in list(self._waiters.values()):
            for queue in waiters:
                queue.put_nowait(None)


async def wait_for_change(waiter: Waiter, timeout_s: float) -> None:
    """Wait for a state change; return without one after a timeout.

    Callers read the session's record again in both cases, so a lost message only delays them.

    Args:
        waiter: The queue, from `Hub.subscribed`.
        timeout_s: How long to wait, in seconds.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await waiter.get()
