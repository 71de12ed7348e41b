"""The slots of a warm runner over several shards: the runner moves free slots between them."""

import asyncio
import itertools
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

from cordboard.store.keys import shard_of
from cordboard.store.records import Registration
from cordboard.store.runners import RunnerPool
from cordboard.store.sharding.gather import gather_replies, require_all, require_any, values
from cordboard.store.sharding.slots import (
    LOOKS_PER_S,
    RUNNERS_PER_SHARD,
    ShardLoad,
    home_shards,
    is_unbalanced,
    slot_shares,
)


class SlotLending:
    """The registrations of this process's warm runners in all shards.

    Args:
        pools: The runner pool of each shard.
        runners_per_shard: The number of runners that have their home in one shard.
    """

    def __init__(
        self, pools: Sequence[RunnerPool], *, runners_per_shard: int = RUNNERS_PER_SHARD
    ) -> None:
        self._pools = pools
        self._runners_per_shard = runners_per_shard
        self._shares: dict[str, list[int]] = {}
        self._lock = asyncio.Lock()  # one registration at a time moves slots
        self._turns = itertools.count(1)
        self._runners = 0  # an estimate of the number of live runners in the plane
        # Another shard than a home shard needs slots, or a home shard does not answer.
        self._is_needed_elsewhere = False
        self._next_look = 0.0

    def shares(self, runner_id: str) -> list[int]:
        """Return the most slots that each shard may assume ``runner_id`` to have."""
        return list(self._shares[runner_id])

    async def register(self, runner: Registration) -> int:
        """Register ``runner`` in its shards, divide its free slots among them, and return their number.

        Raises:
            StoreUnavailableError: No shard answers.
        """
        async with self._lock:
            shares = self._shares.setdefault(runner.runner_id, [0] * len(self._pools))
            first = shard_of(runner.runner_id, len(shares))
            home = home_shards(len(shares), self._runners, first, self._runners_per_shard)
            numbers = [
                number
                for number, share in enumerate(shares)
                if share or number in home or self._is_needed_elsewhere or runner.draining
            ]
            replies = await gather_replies(
                self._set_share(number, runner, shares[number]) for number in numbers
            )
            if not runner.draining:
                loads: list[ShardLoad | None] = [None] * len(shares)
                for number, reply in zip(numbers, replies, strict=True):
                    loads[number] = reply if isinstance(reply, ShardLoad) else None
                self._estimate_runners(loads, len(home))
                answered = sum(load is not None for load in loads)
                self._is_needed_elsewhere = len(numbers) > answered
                targets = slot_shares(runner.capacity, loads, shares, first, home)
                # Lowered before others are raised: the shards never assume more slots than exist.
                lowered = [n for n, share in enumerate(shares) if targets[n] < share]
                await self._set_shares(runner, lowered, targets)
                await self._raise_shares(runner, targets, loads)
            used = sum(load.used for load in require_any(replies))
        return 0 if runner.draining else runner.capacity - used

    def _estimate_runners(self, loads: Sequence[ShardLoad | None], home_count: int) -> None:
        """Estimate the number of runners: each counts once in each of its ``home_count`` shards."""
        most = max((load.runners for load in loads if load), default=0)
        self._runners = most * len(loads) // home_count

    async def _raise_shares(
        self, runner: Registration, targets: list[int], loads: Sequence[ShardLoad | None]
    ) -> None:
        """Raise shares by no more than others were lowered: a session may have taken a slot meanwhile."""
        shares = self._shares[runner.runner_id]
        spare = runner.capacity - sum(shares)
        raised = []
        for number, share in enumerate(shares):
            increase = min(targets[number] - share, spare) if loads[number] else 0
            if increase > 0:
                targets[number] = share + increase
                spare -= increase
                raised.append(number)
        await self._set_shares(runner, raised, targets)

    async def _set_shares(
        self, runner: Registration, numbers: Iterable[int], targets: Sequence[int]
    ) -> None:
        await gather_replies(self._set_share(number, runner, targets[number]) for number in numbers)

    async def _set_share(self, number: int, runner: Registration, share: int) -> ShardLoad:
        """Register the runner in one shard with its ``share``.

        ``_shares`` is an upper bound of what the shard assumes: it is raised before the request, because
        the reply may be lost, and lowered after the reply.
        """
        shares = self._shares[runner.runner_id]
        shares[number] = max(shares[number], share)
        offer = await self._pools[number].register(
            replace(runner, capacity=share), next(self._turns)
        )
        used = 0 if runner.draining else share - offer.free
        shares[number] = max(share, used)  # used slots cannot be taken away
        return ShardLoad(used, offer.waiting, offer.runners)

    async def needs_rebalancing(self, runner_id: str) -> bool:
        """Return whether the slots of ``runner_id`` are in one shard while joins wait in another.

        The more runners there are, the less often each of them looks.
        """
        now = time.monotonic()
        if now < self._next_look:
            return False
        self._next_look = now + self._runners / LOOKS_PER_S
        loads = values(await gather_replies(pool.load(runner_id) for pool in self._pools))
        self._is_needed_elsewhere = is_unbalanced(loads)
        return self._is_needed_elsewhere

    async def unregister(self, runner_id: str) -> None:
        """Remove the registration of ``runner_id`` in all shards."""
        self._shares.pop(runner_id, None)
        require_all(await gather_replies(pool.unregister(runner_id) for pool in self._pools))
