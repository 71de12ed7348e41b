"""``ShardedStore``: a session store whose rooms are spread over several shards."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from cordboard.contract.errors import NotFoundError, StoreUnavailableError
from cordboard.contract.launch import Launch
from cordboard.contract.lease import Periods, RenewalResult
from cordboard.contract.state import State
from cordboard.contract.urls import redacted_url
from cordboard.store.limits import UNLIMITED, JoinLimits
from cordboard.store.overview import Overview, merged
from cordboard.store.records import (
    AcceptedJoin,
    HandOverCause,
    Holder,
    LeaveOutcome,
    RecoveringHolder,
    RecoveryOutcome,
    Registration,
    Renewal,
    SessionRecord,
)
from cordboard.store.redis_store import RedisStore
from cordboard.store.session_filter import ALL_SESSIONS, SessionFilter
from cordboard.store.sessions import session_not_found
from cordboard.store.sharding.gather import (
    gather_replies,
    gather_replies_soon,
    require_all,
    require_any,
    values,
    wait_for_any,
)
from cordboard.store.sharding.joins import ShardedJoins
from cordboard.store.sharding.lending import SlotLending
from cordboard.store.sharding.shard import Shard


class ShardedStore:
    """A ``SessionStore`` over several shards. ``SessionStore`` describes the methods.

    A room is in the shard of its hash. A method that gets no room reads the session index to find the shard.

    Args:
        stores: The store of each shard; at least two, with the same periods.
        lending: The slots of this process's warm runners.

    Attributes:
        url: The URL of Redis.
        periods: The periods of the lease.
        joins: The decision of joins, with the session index.
        lending: The slots of this process's warm runners.
    """

    def __init__(self, stores: Sequence[RedisStore], *, lending: SlotLending | None = None) -> None:
        self.url: str = stores[0].url
        self.periods: Periods = stores[0].periods
        self._stores = tuple(stores)
        self.joins = ShardedJoins([Shard(store) for store in stores])
        self.lending = lending or SlotLending([store.runners for store in stores])

    def __repr__(self) -> str:
        return f"ShardedStore({redacted_url(self.url)}, {len(self._stores)} shards)"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections of all shards."""
        await asyncio.gather(*(store.close() for store in self._stores))

    @property
    def shards(self) -> tuple[RedisStore, ...]:
        """The shards."""
        return self._stores

    # --- Joining and leaving

    async def accept(
        self,
        launch: Launch,
        *,
        queue_max: int,
        runner: Registration | None = None,
        limits: JoinLimits = UNLIMITED,
    ) -> AcceptedJoin:
        """Decide the join of ``launch``, within ``queue_max`` and ``limits``; ``runner`` may start it."""
        return await self.joins.accept(launch, queue_max=queue_max, runner=runner, limits=limits)

    async def leave(
        self,
        *,
        session_id: str | None = None,
        room: str | None = None,
        force: bool = False,
        detail: str | None = None,
    ) -> LeaveOutcome:
        """End ``session_id``, or the holder of ``room``, with ``force`` any holder; ``detail`` is the explanation."""
        # An id without an entry in the index has no session, which is what the caller wants.
        try:
            store = await self._store_of(session_id or "", room)
        except NotFoundError:
            return LeaveOutcome("absent", session_id or "", "")
        return await store.leave(session_id=session_id, room=room, force=force, detail=detail)

    # --- Reading

    async def session(self, session_id: str, *, room: str | None = None) -> SessionRecord:
        """Return the record of ``session_id``, in the shard of its ``room`` if that is known."""
        return await (await self._store_of(session_id, room)).session(session_id)

    async def sessions(
        self,
        wanted: SessionFilter = ALL_SESSIONS,
        *,
        limit: int = 50,
        cursor: str | None = None,
    ) -> tuple[list[SessionRecord], str | None]:
        """Return up to ``limit`` of the ``wanted`` sessions after ``cursor``.

        Each shard returns a page; the pages are merged.
        """
        stores = self._stores if wanted.room is None else [self._store_of_room(wanted.room)]
        pages = require_all(
            await gather_replies(
                store.sessions(wanted, limit=limit, cursor=cursor) for store in stores
            )
        )
        # A shard with a cursor may have more sessions below it. What other shards have there belongs to a
        # later page, so the merged page ends at the greatest cursor.
        end = max((_cursor_position(cursor) for _, cursor in pages if cursor), default=None)
        records = sorted((one for page, _ in pages for one in page), key=_position, reverse=True)
        fitting = [one for one in records if end is None or _position(one) >= end]
        if len(fitting) > limit or (len(fitting) == limit and (end or len(records) > limit)):
            return fitting[:limit], _cursor(_position(fitting[limit - 1]))
        return fitting, _cursor(end) if end else None

    async def overview(self) -> Overview:
        """Return what all shards do; one that does not answer has no queue and no sessions to tell of."""
        replies = await gather_replies_soon(store.overview() for store in self._stores)
        return merged(require_any(replies))

    # --- Holding a room

    async def launch_record(self, session_id: str, epoch: int) -> Launch:
        """Return the launch of ``session_id`` with ``epoch``."""
        return await (await self._store_of(session_id)).launch_record(session_id, epoch)

    async def confirm_running(
        self, session_id: str, epoch: int, holder: Holder, *, room: str | None = None
    ) -> None:
        """Confirm that ``holder`` holds ``session_id`` with ``epoch`` in ``room``."""
        store = await self._store_of(session_id, room)
        await store.confirm_running(session_id, epoch, holder)

    async def renew(self, renewals: Sequence[Renewal]) -> list[RenewalResult]:
        """Extend the leases of ``renewals``, in one round trip per shard.

        A renewal in a shard that does not answer results in ``away``.
        """
        results: list[RenewalResult] = ["away"] * len(renewals)
        places: defaultdict[int, list[int]] = defaultdict(list)
        for place, item in enumerate(renewals):
            places[self.joins.number_of(item.room)].append(place)
        replies = await gather_replies(
            self._stores[number].renew([renewals[place] for place in of_shard])
            for number, of_shard in places.items()
        )
        for of_shard, reply in zip(places.values(), replies, strict=True):
            if not isinstance(reply, BaseException):
                for place, result in zip(of_shard, reply, strict=True):
                    results[place] = result
        return results

    async def adopt(self, launch: Launch, holder: Holder) -> RenewalResult:
        """Restore the session of ``launch``, which ``holder`` runs, and its entry in the index."""
        result = await self._store_of_room(launch.room_url).adopt(launch, holder)
        if result == "held":
            with contextlib.suppress(StoreUnavailableError):  # the session runs without the entry
                await self.joins.add_to_index(launch)
        return result

    async def finish(
        self,
        session_id: str,
        epoch: int,
        reason: str,
        detail: str | None = None,
        *,
        token: str | None = None,
        room: str | None = None,
    ) -> bool:
        """End ``session_id`` with ``epoch`` for ``reason``, with ``detail``; see ``SessionStore.finish``.

        A repeated call has the same ``token``; the ``room`` saves a read of the index.
        """
        store = await self._store_of(session_id, room)
        return await store.finish(session_id, epoch, reason, detail, token=token)

    async def hand_over(
        self,
        session_id: str,
        epoch: int,
        cause: HandOverCause,
        holder: RecoveringHolder,
        *,
        room: str | None = None,
    ) -> RecoveryOutcome:
        """Queue ``session_id`` with ``epoch`` again for its ``holder``, in the shard of ``room``."""
        store = await self._store_of(session_id, room)
        return await store.hand_over(session_id, epoch, cause, holder)

    async def keep_context(
        self, session_id: str, epoch: int, runner_id: str, context: str, *, room: str | None = None
    ) -> bool:
        """Keep ``context`` for ``session_id``, which ``runner_id`` holds with ``epoch``, in the shard of ``room``."""
        store = await self._store_of(session_id, room)
        return await store.keep_context(session_id, epoch, runner_id, context)

    async def kept_context(self, session_id: str, *, room: str | None = None) -> str | None:
        """Return the kept context of ``session_id`` in the shard of ``room``, or None."""
        return await (await self._store_of(session_id, room)).kept_context(session_id)

    async def suspect(self, session_id: str, *, pause_s: float) -> State:
        """Make the operators look at ``session_id``, at most once in ``pause_s``."""
        return await (await self._store_of(session_id)).suspect(session_id, pause_s=pause_s)

    # --- Warm runners

    async def register(self, runner: Registration) -> int:
        """Register ``runner`` in its shards, and return its number of free slots."""
        return await self.lending.register(runner)

    async def unregister(self, runner_id: str) -> None:
        """Remove the registration of ``runner_id`` in all shards."""
        await self.lending.unregister(runner_id)

    async def needs_rebalancing(self, runner_id: str) -> bool:
        """Return whether the slots of ``runner_id`` are in one shard while joins wait in another."""
        return await self.lending.needs_rebalancing(runner_id)

    async def warm_slots(self) -> int:
        """Return the slots of all shards that answer."""
        replies = await gather_replies_soon(store.warm_slots() for store in self._stores)
        return sum(require_any(replies))

    async def cold_slots(self) -> int:
        """Return the cold runners of all operators, each of which reads the queues of all shards."""
        replies = await gather_replies_soon(store.cold_slots() for store in self._stores)
        return max(require_any(replies))

    async def oldest_wait_s(self) -> float:
        """Return the longest wait in the queues of the shards that answer, in seconds."""
        replies = await gather_replies(store.oldest_wait_s() for store in self._stores)
        return max(require_any(replies))

    # --- The servers

    async def ping(self) -> None:
        """Check that a shard answers: its rooms can then be served."""
        await wait_for_any(store.ping() for store in self._stores)

    async def check_writable(self) -> None:
        """Write one small key in each shard; it is enough that one shard accepts it."""
        await wait_for_any(store.check_writable() for store in self._stores)

    async def check_permitted(self) -> None:
        """Try each command and each kind of key in each shard that answers."""
        require_any(await gather_replies(store.check_permitted() for store in self._stores))

    async def eviction_policy(self) -> str | None:
        """Return the first policy by which a shard evicts keys, or None."""
        replies = await gather_replies(store.eviction_policy() for store in self._stores)
        return next((policy for policy in values(replies) if policy), None)

    # --- Which shard

    def _store_of_room(self, room: str) -> RedisStore:
        return self._stores[self.joins.number_of(room)]

    async def _store_of(self, session_id: str, room: str | None = None) -> RedisStore:
        """Return the shard of ``room``, or else the shard that the index names for ``session_id``.

        Raises:
            NotFoundError: The index has no entry for the session id.
        """
        if room:
            return self._store_of_room(room)
        number = await self.joins.index_of(session_id).find(session_id)
        # An entry of a former number of shards may name a shard that does not exist any more.
        if number is None or number >= len(self._stores):
            raise session_not_found(session_id)
        return self._stores[number]


def _position(record: SessionRecord) -> tuple[int, str]:
    return record.created_ms, record.session_id


def _cursor_position(cursor: str) -> tuple[int, str]:
    score, _, session_id = cursor.partition("|")
    return int(score), session_id


def _cursor(position: tuple[int, str]) -> str:
    return f"{position[0]}|{position[1]}"
