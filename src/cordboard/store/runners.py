"""The warm runners of one shard: their registrations and their slots."""

from collections.abc import Iterable
from typing import NamedTuple

from cordboard.store.connection import Connection
from cordboard.store.keys import Keys
from cordboard.store.records import Registration
from cordboard.store.scripts import Scripts


class SlotOffer(NamedTuple):
    """The reply of a shard to a registration.

    Attributes:
        free: The free slots of the runner; negative if it has lowered its capacity below the used ones.
        waiting: The number of launches in the queue.
        runners: The number of runners alive in the shard.
    """

    free: int
    waiting: int
    runners: int


class PodRunner(NamedTuple):
    """A live warm runner that runs in a Kubernetes pod.

    Attributes:
        runner_id: The runner.
        pod: Its pod, as NAMESPACE/NAME.
        sessions: The number of sessions of this shard that are assigned to it.
    """

    runner_id: str
    pod: str
    sessions: int


class RunnerPool:
    """The warm runners of one shard.

    Args:
        connection: The connection to Redis.
        keys: The key names of the shard.
        scripts: The scripts of the shard.
    """

    def __init__(self, connection: Connection, keys: Keys, scripts: Scripts) -> None:
        self._connection = connection
        self._keys = keys
        self._scripts = scripts

    async def register(self, runner: Registration, turn: int = 0) -> SlotOffer:
        """Write the registration of a warm runner.

        Args:
            runner: The runner; its capacity is the number of slots that it offers in this shard.
            turn: The number of the registration; one that arrives after a later one changes nothing.
        """
        reply = await self._scripts.run(
            "register",
            self._keys.runner(runner.runner_id),
            {
                "runner_id": runner.runner_id,
                "url": runner.url,
                "capacity": runner.capacity,
                "is_draining": runner.draining,
                "turn": turn,
                "bots": runner.bots,
                "pod": runner.pod or None,
            },
        )
        return SlotOffer(*map(int, reply))

    async def unregister(self, runner_id: str) -> None:
        """Remove the registration of the warm runner ``runner_id``."""
        with self._connection.errors():
            # One transaction: no script may choose a runner whose registration is half removed.
            async with self._connection.client.pipeline(transaction=True) as pipe:
                pipe.zrem(self._keys.runners, runner_id)
                pipe.zrem(self._keys.runner_free, runner_id)
                pipe.delete(self._keys.runner(runner_id))
                await pipe.execute()

    async def busy(self, known: Iterable[str] = ()) -> dict[str, str]:
        """Return the URLs of the warm runners that have sessions, by runner id.

        Args:
            known: Runners that may have sessions although they take no more, because they drain.
        """
        with self._connection.errors():
            taking = await self._connection.client.zrange(self._keys.runners, 0, -1)
            runner_ids = sorted({*taking, *known})
            async with self._connection.client.pipeline(transaction=False) as pipe:
                for runner_id in runner_ids:
                    pipe.scard(self._keys.runner_sessions(runner_id))
                    pipe.hget(self._keys.runner(runner_id), "url")
                replies = await pipe.execute()
        rows = zip(runner_ids, replies[::2], replies[1::2], strict=True)
        return {runner_id: url for runner_id, count, url in rows if count and url}

    async def load(self, runner_id: str) -> tuple[int, int]:
        """Return the free slots of ``runner_id`` in this shard, and the length of the launch queue."""
        with self._connection.errors():
            async with self._connection.client.pipeline(transaction=False) as pipe:
                pipe.zscore(self._keys.runner_free, runner_id)
                pipe.xlen(self._keys.launches)
                free, waiting = await pipe.execute()
        return int(free or 0), int(waiting)

    async def free_slots(self) -> int:
        """Return the number of free slots of all warm runners."""
        with self._connection.errors():
            rows = await self._connection.client.zrange(
                self._keys.runner_free, 0, -1, withscores=True
            )
        # Negative while a runner moves slots that sessions still use.
        return sum(max(int(score), 0) for _, score in rows)

    async def slots(self) -> int:
        """Return the number of slots of the live warm runners, used and free."""
        with self._connection.errors():
            async with self._connection.client.pipeline(transaction=False) as pipe:
                for runner_id in await self._alive():
                    pipe.hget(self._keys.runner(runner_id), "capacity")
                return sum(int(capacity or 0) for capacity in await pipe.execute())

    async def in_pods(self) -> list[PodRunner]:
        """Return the live warm runners that take sessions and run in Kubernetes pods."""
        with self._connection.errors():
            alive = await self._alive()
            async with self._connection.client.pipeline(transaction=False) as pipe:
                for runner_id in alive:
                    pipe.hget(self._keys.runner(runner_id), "pod")
                    pipe.scard(self._keys.runner_sessions(runner_id))
                replies = await pipe.execute()
        rows = zip(alive, replies[::2], replies[1::2], strict=True)
        return [PodRunner(runner_id, pod, int(count)) for runner_id, pod, count in rows if pod]

    async def _alive(self) -> list[str]:
        """Return the ids of the live runners: the registration of a dead one stays for an hour."""
        since_ms = await self._connection.now_ms() - round(self._keys.lease_s * 1000)
        alive: list[str] = await self._connection.client.zrange(
            self._keys.runners, since_ms, "+inf", byscore=True
        )
        return alive
