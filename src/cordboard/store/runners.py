"""Warm runners: their heartbeat and their free slots."""

from cordboard.store.connection import Shard
from cordboard.store.records import Registration


class Standby(Shard):
    """The pool of warm runners."""

    async def register(self, runner: Registration) -> int:
        """Say that a warm runner lives and what it can take; returns its free slots."""
        return (await self.offer(runner))[0]

    async def offer(self, runner: Registration, turn: int = 0) -> tuple[int, int, int]:
        """Register; return its free slots, joins on their way to a runner, and runners alive.

        Args:
            runner: The runner, with the slots that it has here.
            turn: Which of its offers this is; one that comes after a later one changes nothing.
        """
        free, waiting, alive = await self._run(
            "register",
            self.keys.runner(runner.runner_id),
            runner.runner_id,
            runner.url,
            runner.capacity,
            "1" if runner.draining else "0",
            turn,
            *runner.bots,
        )
        return int(free), int(waiting), int(alive)

    async def pressure(self, runner_id: str) -> tuple[int, int]:
        """Return a warm runner's free slots, and how many joins are on their way to a runner."""
        with self._errors():
            async with self._client.pipeline(transaction=False) as pipe:
                pipe.zscore(self.keys.runner_free, runner_id)
                pipe.xlen(self.keys.launches)
                free, waiting = await pipe.execute()
        return int(free or 0), int(waiting)

    async def unregister(self, runner_id: str) -> None:
        """Forget a warm runner that stops."""
        with self._errors():
            async with self._client.pipeline(transaction=True) as pipe:
                pipe.zrem(self.keys.runners, runner_id)
                pipe.zrem(self.keys.runner_free, runner_id)
                pipe.delete(self.keys.runner(runner_id))
                await pipe.execute()

    async def free_slots(self) -> int:
        """Return how many sessions the warm runners of the pool could take."""
        with self._errors():
            found = await self._client.zrange(self.keys.runner_free, 0, -1, withscores=True)
        return sum(max(int(score), 0) for _, score in found)

    async def warm_slots(self) -> int:
        """Return all slots of the warm runners that live, taken and free."""
        with self._errors():
            since = await self._now_ms() - round(self.periods.lease_s * 1000)
            alive = await self._client.zrange(self.keys.runners, since, "+inf", byscore=True)
            async with self._client.pipeline(transaction=False) as pipe:
                for runner_id in alive:
                    pipe.hget(self.keys.runner(runner_id), "capacity")
                return sum(int(capacity or 0) for capacity in await pipe.execute())

    async def runners_alive(self, within_ms: int) -> int:
        """Return how many warm runners have given a sign of life lately."""
        with self._errors():
            now = await self._now_ms()
            return int(await self._client.zcount(self.keys.runners, now - within_ms, "+inf"))
