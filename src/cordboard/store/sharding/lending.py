"""A warm runner's slots over several shards: it is known to each, and moves free slots among them."""

import asyncio
import itertools
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

from cordboard.store.client import RedisStore
from cordboard.store.keys import shard_of
from cordboard.store.records import Registration
from cordboard.store.sharding.gather import all_values, ask_all, some_value
from cordboard.store.sharding.slots import LOOKS_A_SECOND, Seen, are_ill_shared, homes, shares


class Lending(RedisStore):
    """A runner's view of all shards.

    Args:
        shards: The shards.
    """

    def __init__(self, shards: tuple[RedisStore, ...]) -> None:
        # Not that of RedisStore: what a caller asks of no certain shard has to fail.
        self._shards = shards
        self._shares: dict[str, list[int]] = {}
        self._moving = asyncio.Lock()
        self._turns = itertools.count(1)
        self._runners = 0  # alive in all, as far as is known
        self._is_wanted = False  # by a shard that is no home, or while one of those is away
        self._looks_at = 0.0

    async def register(self, runner: Registration) -> int:
        """Tell all shards that a warm runner lives, and share its free slots out among them.

        Raises:
            StoreUnavailableError: No shard answers.
        """
        async with self._moving:
            held = self._shares.setdefault(runner.runner_id, [0] * len(self._shards))
            first = shard_of(runner.runner_id, len(held))
            home = homes(len(held), self._runners, first)
            asked = [
                number
                for number, share in enumerate(held)
                if share or number in home or self._is_wanted or runner.draining
            ]
            answers = await ask_all(
                self._set_share(number, runner, held[number]) for number in asked
            )
            if not runner.draining:
                seen: list[Seen | None] = [None] * len(held)
                for number, one in zip(asked, answers, strict=True):
                    seen[number] = one if isinstance(one, Seen) else None
                self._count(seen, len(home))
                self._is_wanted = len(asked) > sum(one is not None for one in seen)
                wanted = shares(runner.capacity, seen, held, first, home)
                lowered = [number for number, share in enumerate(held) if wanted[number] < share]
                await self._set_shares(runner, lowered, wanted)
                await self._raise_shares(runner, wanted, seen)
            some_value(answers)
        if runner.draining:
            return 0
        return runner.capacity - sum(one.used for one in answers if isinstance(one, Seen))

    def _count(self, seen: Sequence[Seen | None], homes_each: int) -> None:
        """Estimate how many runners there are: each is counted in the shards of its home."""
        most = max((one.runners for one in seen if one), default=0)
        self._runners = most * len(seen) // homes_each

    async def _raise_shares(
        self, runner: Registration, wanted: list[int], seen: Sequence[Seen | None]
    ) -> None:
        """Raise shares by no more than lowering has brought: a slot may have been taken meanwhile."""
        held = self._shares[runner.runner_id]
        spare = runner.capacity - sum(held)
        raised = []
        for number, share in enumerate(held):
            more = min(wanted[number] - share, spare) if seen[number] else 0
            if more > 0:
                wanted[number] = share + more
                spare -= more
                raised.append(number)
        await self._set_shares(runner, raised, wanted)

    async def _set_shares(
        self, runner: Registration, numbers: Iterable[int], wanted: Sequence[int]
    ) -> None:
        await ask_all(self._set_share(number, runner, wanted[number]) for number in numbers)

    async def _set_share(self, number: int, runner: Registration, share: int) -> Seen:
        """Tell one shard its share; what it may believe is never more than what is noted here."""
        held = self._shares[runner.runner_id]
        held[number] = max(held[number], share)  # until it has answered: the answer may be lost
        offered, turn = replace(runner, capacity=share), next(self._turns)
        free, waiting, runners = await self._shards[number].offer(offered, turn)
        used = 0 if runner.draining else share - free
        held[number] = max(share, used)  # those in use cannot be taken away
        return Seen(used, waiting, runners)

    async def needs_rebalancing(self, runner_id: str) -> bool:
        """Say whether a runner's slots are in one shard while joins wait in another.

        The more runners there are, the more rarely each one looks.
        """
        now = time.monotonic()
        if now < self._looks_at:
            return False
        self._looks_at = now + self._runners / LOOKS_A_SECOND
        seen = await ask_all(shard.pressure(runner_id) for shard in self._shards)
        self._is_wanted = are_ill_shared(
            [one for one in seen if not isinstance(one, BaseException)]
        )
        return self._is_wanted

    async def unregister(self, runner_id: str) -> None:
        """Forget a warm runner that stops, in all shards."""
        self._shares.pop(runner_id, None)
        all_values(await ask_all(shard.unregister(runner_id) for shard in self._shards))
