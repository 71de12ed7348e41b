"""Joins over several shards: claim the session id, decide in the shard of the room, tidy the index."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, Final
from weakref import WeakValueDictionary

from cordboard.contract.errors import SessionInUseError, StoreUnavailableError
from cordboard.contract.launch import Launch
from cordboard.store.errors import RETRY_AFTER_S
from cordboard.store.keys import shard_of
from cordboard.store.limits import UNLIMITED, JoinLimits, LimitSet, limit_sets
from cordboard.store.records import AcceptedJoin, Registration
from cordboard.store.rooms import accepted_join
from cordboard.store.scripts import new_token
from cordboard.store.sharding.gather import gather_replies_soon, values
from cordboard.store.sharding.hints import JoinHints
from cordboard.store.sharding.index import UNCLAIMED, Claim, SessionIndex
from cordboard.store.sharding.shard import Shard

# Tries to claim one id. Each was undone by a join of the same id in another room through another gateway,
# so a caller that exceeds this uses one id in several rooms at once.
CLAIMS_MAX: Final = 8
# How long a join waits for others that count in the same limit set. It is far longer than a join takes in
# healthy shards; beyond it the limit may be exceeded rather than the join refused.
TURN_S: Final = 1.0


class ShardedJoins:
    """The decision of joins over several shards.

    Args:
        shards: The shards.

    Attributes:
        shards: The shards.
    """

    def __init__(self, shards: Sequence[Shard]) -> None:
        self.shards = tuple(shards)
        self._hints = JoinHints()
        # One lock per limit set, as long as a join holds or awaits it.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def accept(
        self,
        launch: Launch,
        *,
        queue_max: int,
        runner: Registration | None = None,
        limits: JoinLimits = UNLIMITED,
    ) -> AcceptedJoin:
        """Decide one join; see ``SessionStore.accept``.

        Joins of this process that count in the same limit set run one after another, so that each counts
        the one before it.

        Args:
            launch: The launch.
            queue_max: Maximum number of accepted joins that wait for a runner.
            runner: The runner that starts the session itself.
            limits: The limits on the live sessions of the caller.
        """
        sets = list(limit_sets(launch, limits))
        limited = [item.name for item in sets if item.max]
        async with self._turn(limited):
            elsewhere = await self._count_elsewhere(self.number_of(launch.room_url), limited)
            sets = [replace(item, elsewhere=elsewhere.get(item.name, 0)) for item in sets]
            return await self._decide(launch, sets, queue_max, runner)

    @contextlib.asynccontextmanager
    async def _turn(self, names: Sequence[str]) -> AsyncIterator[None]:
        """Hold the locks of the limit sets of ``names``, or go on without them after ``TURN_S``."""
        # Sorted, so that two joins never wait for each other.
        locks = [self._locks.setdefault(name, asyncio.Lock()) for name in sorted(names)]
        async with contextlib.AsyncExitStack() as held:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TURN_S):
                    for lock in locks:
                        await held.enter_async_context(lock)
            yield

    async def _count_elsewhere(self, number: int, names: Sequence[str]) -> dict[str, int]:
        """Count live sessions in the other shards; one that does not answer counts as empty."""
        if not names:
            return {}
        others = [shard for other, shard in enumerate(self.shards) if other != number]
        counts = values(await gather_replies_soon(shard.count_live(names) for shard in others))
        return {name: sum(count[place] for count in counts) for place, name in enumerate(names)}

    async def _decide(
        self,
        launch: Launch,
        sets: Sequence[LimitSet],
        queue_max: int,
        runner: Registration | None,
    ) -> AcceptedJoin:
        number, token = self.number_of(launch.room_url), new_token()
        claim, moved_from = await self._first_claim(launch, number), None
        for _ in range(CLAIMS_MAX):
            reply = await self.shards[number].accept(
                launch, token, claim, queue_max=queue_max, limit_sets=sets, runner=runner
            )
            # "claim": the room is free after all. "retired": another join has moved the id meanwhile.
            if reply[0] not in {"claim", "retired"}:
                return await self.settle(launch, reply, claim, moved_from)
            claim, moved_from = await self.claim(launch, number, claim.token)
        raise StoreUnavailableError(
            f"Session {launch.session_id} is requested in several rooms at once.",
            hint="Try again.",
            retry_after_s=RETRY_AFTER_S,
        )

    async def _first_claim(self, launch: Launch, number: int) -> Claim:
        """Claim the id, unless the room will probably refuse it; then only the room is asked."""
        if self._hints.is_refusal_likely(launch.room_url, number):
            return Claim(number, UNCLAIMED)
        claim = await self.index_of(launch.session_id).claim(launch, number)
        return claim if claim.shard == number else Claim(number, UNCLAIMED)

    async def claim(self, launch: Launch, number: int, refused: str) -> tuple[Claim, Claim | None]:
        """Claim a session id for a shard, after the shard has refused a claim.

        Args:
            launch: The launch with the session id.
            number: The shard.
            refused: The token of the refused claim.

        Returns:
            The claim, and the claim in another shard that had to be retired for it.

        Raises:
            SessionInUseError: The session id is live in another room.
            SessionUsedError: The session id belonged to another user.
        """
        index = self.index_of(launch.session_id)
        self._hints.note_free(launch.room_url)
        for _ in range(CLAIMS_MAX):
            current = await index.claim(launch, number)
            if current.shard == number and current.token != refused:
                return current, None
            try:
                epoch = await self.shards[current.shard].retire(launch, current.token)
            except SessionInUseError as error:
                if error.extra["room_url"] != launch.room_url:
                    raise
                break  # it became live a moment ago in the requested room: the room will say so
            # A new session must have a greater epoch than the one that ended in the other shard.
            claim = Claim(number, new_token(), max(current.epoch_above, epoch))
            if await index.move(launch, current.token, claim):
                if current.shard == number:
                    return claim, None
                return claim, Claim(current.shard, current.token, epoch)
        return Claim(number, UNCLAIMED), None

    async def settle(
        self, launch: Launch, reply: Sequence[Any], claim: Claim, moved_from: Claim | None
    ) -> AcceptedJoin:
        """Return what a reply means, after adjusting the hints and the index.

        Args:
            launch: The launch.
            reply: The reply of the script `accept`.
            claim: The claim with which it ran.
            moved_from: The claim in another shard that was retired.
        """
        number = self.number_of(launch.room_url)
        if reply[0] == "full":
            self._hints.note_full(number)
        elif reply[0] in {"new", "reused"}:
            self._hints.note_busy(launch.room_url)
        # The decision stands whether or not the index can be adjusted.
        with contextlib.suppress(StoreUnavailableError):
            is_refused = reply[0] in {"full", "reused", "too_many"}
            if is_refused and moved_from:
                await self._move_back(launch, claim, moved_from)
            elif is_refused and reply[-1]:
                await self.index_of(launch.session_id).release(launch.session_id, claim)
            elif reply[:2] == ["reused", launch.session_id] and claim.token == UNCLAIMED:
                await self.add_to_index(launch)
            elif reply[0] == "new" and moved_from and moved_from.epoch_above:
                other = self.shards[moved_from.shard]
                await other.forget(launch.session_id, moved_from.epoch_above)
        return accepted_join(launch, reply)

    async def _move_back(self, launch: Launch, claim: Claim, moved_from: Claim) -> None:
        """Return an id to the shard that has its record, after a join that was refused."""
        with contextlib.suppress(SessionInUseError):  # another join has accepted it meanwhile
            await self.shards[claim.shard].retire(launch, claim.token)
            back = Claim(moved_from.shard, new_token(), claim.epoch_above)
            await self.index_of(launch.session_id).move(launch, claim.token, back)

    async def add_to_index(self, launch: Launch) -> None:
        """Write the entry of the live session of ``launch``, if a failover has lost it."""
        claim = Claim(self.number_of(launch.room_url), new_token())
        await self.index_of(launch.session_id).add(launch, claim)

    def number_of(self, room: str) -> int:
        """Return the number of the shard that has ``room``."""
        return shard_of(room, len(self.shards))

    def index_of(self, session_id: str) -> SessionIndex:
        """Return the index that has the entry of ``session_id``."""
        return self.shards[shard_of(session_id, len(self.shards))].index
