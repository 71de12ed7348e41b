"""Rooms spread over several shards, each with keys and a connection of its own.

A connection each, so that a primary that is away holds up its own shard alone.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, Final
from weakref import WeakValueDictionary

from cordboard.contract.errors import NotFoundError, SessionInUseError, StoreUnavailableError
from cordboard.contract.launch import Launch
from cordboard.contract.lease import RenewalResult
from cordboard.contract.state import State
from cordboard.contract.urls import redacted_url
from cordboard.store.client import RedisStore
from cordboard.store.connection import new_token
from cordboard.store.errors import RETRY_AFTER_S
from cordboard.store.keys import Keys, shard_of, shard_tags
from cordboard.store.limits import UNLIMITED, Count, JoinLimits, counts
from cordboard.store.records import (
    AcceptedJoin,
    Holder,
    LeaveOutcome,
    Registration,
    Renewal,
    SessionRecord,
)
from cordboard.store.rooms import accepted
from cordboard.store.sessions import no_session
from cordboard.store.sharding.gather import (
    all_values,
    ask_all,
    ask_all_soon,
    some_value,
    wait_for_some,
)
from cordboard.store.sharding.hints import Hints
from cordboard.store.sharding.index import Claim
from cordboard.store.sharding.lending import Lending

CLAIMS_MAX: Final = 8  # tries, each of which another gateway's join for the same id has undone
TURN_S: Final = 1.0  # far longer than a join takes where its shards are well
UNCLAIMED: Final = "?"  # the id is yet to be claimed, once its room has turned out to be free


class ShardedStore(Lending):
    """What gateways and runners see of all shards; an operator works on each shard by itself.

    Args:
        url: Where Redis is.
        shards: How many shards there are; the same for all who open it.
        lease_s: Seconds that a lease lasts.
        record_kept_s: Seconds for which a session's record is kept after its end.
    """

    def __init__(self, url: str, shards: int, lease_s: float, record_kept_s: float) -> None:
        of_one = (RedisStore(url, Keys(tag, lease_s, record_kept_s)) for tag in shard_tags(shards))
        super().__init__(tuple(of_one))
        self.url = url
        self.periods = self._shards[0].periods
        self._hints = Hints()
        self._joining: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def shards(self) -> tuple[RedisStore, ...]:
        """The shards, each by itself."""
        return self._shards

    async def close(self) -> None:
        """Close all connections of all shards."""
        await asyncio.gather(*(shard.close() for shard in self._shards))

    async def ping(self) -> None:
        """Ask for a sign of life; one shard's is enough, as its rooms can be served."""
        await wait_for_some(shard.ping() for shard in self._shards)

    async def check_writable(self) -> None:
        """Write one small key in each shard; one that takes it is enough, as its rooms can be served."""
        await wait_for_some(shard.check_writable() for shard in self._shards)

    async def check_permitted(self) -> None:
        """Try every command and every kind of key, in each shard that answers."""
        some_value(await ask_all(shard.check_permitted() for shard in self._shards))

    async def eviction_policy(self) -> str | None:
        """Return the first policy with which a server of a shard evicts keys; None for none."""
        found = await ask_all(shard.eviction_policy() for shard in self._shards)
        return next((policy for policy in found if isinstance(policy, str)), None)

    # --- Joining and leaving.

    async def accept(
        self,
        launch: Launch,
        *,
        queue_max: int,
        runner: Registration | None = None,
        limits: JoinLimits = UNLIMITED,
    ) -> AcceptedJoin:
        """Decide one join; one at a time of those that have to keep the same bound."""
        counted = list(counts(launch, limits))
        bounded = [count.name for count in counted if count.most]
        async with self._one_at_a_time(bounded):
            elsewhere = await self._elsewhere(self._number(launch.room_url), bounded)
            counted = [replace(one, elsewhere=elsewhere.get(one.name, 0)) for one in counted]
            return await self._decide(launch, counted, queue_max, runner)

    @contextlib.asynccontextmanager
    async def _one_at_a_time(self, names: Sequence[str]) -> AsyncIterator[None]:
        """Wait for the joins that count in one of these sets, but not long for a shard that is away."""
        locks = [self._joining.setdefault(name, asyncio.Lock()) for name in sorted(names)]
        async with contextlib.AsyncExitStack() as held:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TURN_S):
                    for lock in locks:
                        await held.enter_async_context(lock)
            yield

    async def _elsewhere(self, number: int, names: Sequence[str]) -> dict[str, int]:
        """Count live sessions in all shards but one; a shard that is away counts as having none."""
        if not names:
            return {}
        others = [shard for one, shard in enumerate(self._shards) if one != number]
        found = await ask_all_soon(shard.count_live(names) for shard in others)
        answers = [one for one in found if not isinstance(one, BaseException)]
        return {name: sum(one[place] for one in answers) for place, name in enumerate(names)}

    async def _decide(
        self,
        launch: Launch,
        counted: Sequence[Count],
        queue_max: int,
        runner: Registration | None,
    ) -> AcceptedJoin:
        """Decide one join. The id is claimed first, unless the room is likely to refuse it."""
        number, by = self._number(launch.room_url), new_token()
        shard, moved_from = self._shards[number], None
        claim = await self._first_claim(launch, number)
        for _ in range(CLAIMS_MAX):
            answer = await shard.ask_accept(
                launch, by, queue_max=queue_max, counted=counted, runner=runner, claim=claim
            )
            if answer[0] not in {"claim", "retired"}:
                return await self._accepted(launch, answer, claim, moved_from)
            claim, moved_from = await self._claim(launch, number, claim.token)
        raise StoreUnavailableError(
            f"Session {launch.session_id} is asked for in several rooms at once.",
            hint="Join once more.",
            retry_after_s=RETRY_AFTER_S,
        )

    async def _first_claim(self, launch: Launch, number: int) -> Claim:
        """Claim the id; without one only the room is asked, which answers when it is busy."""
        if self._hints.may_refuse(launch.room_url, number):
            return Claim(number, UNCLAIMED)
        claim = await self._home(launch.session_id).claim(launch, number)
        return claim if claim.shard == number else Claim(number, UNCLAIMED)

    async def _claim(self, launch: Launch, number: int, refused: str) -> tuple[Claim, Claim | None]:
        """Claim the id for a shard; return the claim, and the one that had to be retired elsewhere.

        Raises:
            SessionInUseError: The id is live in another room.
            SessionUsedError: The id belonged to another user.
        """
        home = self._home(launch.session_id)
        self._hints.free(launch.room_url)
        for _ in range(CLAIMS_MAX):
            found = await home.claim(launch, number)
            if found.shard == number and found.token != refused:
                return found, None
            try:
                epoch = await self._shards[found.shard].retire(launch, found.token)
            except SessionInUseError as error:
                if error.extra["room_url"] != launch.room_url:
                    raise
                break  # it lives since a moment ago where it is asked for: the room says so
            is_moved = found.shard != number
            ours = Claim(number, new_token(), max(found.above, epoch))
            if await home.move(launch, found.token, ours):
                return ours, Claim(found.shard, found.token, epoch) if is_moved else None
        return Claim(number, UNCLAIMED), None

    async def _accepted(
        self, launch: Launch, answer: Sequence[Any], claim: Claim, moved_from: Claim | None
    ) -> AcceptedJoin:
        """Say what was decided; put the index right after it where that is needed."""
        number = self._number(launch.room_url)
        if answer[0] == "full":
            self._hints.full(number)
        elif answer[0] in {"new", "reused"}:
            self._hints.busy(launch.room_url)
        with contextlib.suppress(StoreUnavailableError):  # not needed for what was decided
            is_refused = answer[0] in {"full", "reused", "too_many"}
            if is_refused and moved_from:
                await self._move_back(launch, claim, moved_from)
            elif is_refused and answer[-1]:
                await self._home(launch.session_id).give_back(launch.session_id, claim)
            elif answer[:2] == ["reused", launch.session_id] and claim.token == UNCLAIMED:
                await self._tell_index(launch)
            elif answer[0] == "new" and moved_from and moved_from.above:
                other = self._shards[moved_from.shard]
                await other.forget(launch.session_id, moved_from.above)
        return accepted(launch, answer)

    async def _move_back(self, launch: Launch, claim: Claim, moved_from: Claim) -> None:
        """Give an id back to the shard that has its record: it was moved for nothing."""
        with contextlib.suppress(SessionInUseError):  # somebody else's join has brought it to life
            await self._shards[claim.shard].retire(launch, claim.token)
            back = Claim(moved_from.shard, new_token(), claim.above)
            await self._home(launch.session_id).move(launch, claim.token, back)

    async def _tell_index(self, launch: Launch) -> None:
        """Name a live session's shard: a failover may have lost the entry."""
        claim = Claim(self._number(launch.room_url), new_token())
        await self._home(launch.session_id).tell(launch, claim)

    async def warm_slots(self) -> int:
        """Return the slots of all shards that answer."""
        found = await ask_all_soon(shard.warm_slots() for shard in self._shards)
        some_value(found)
        return sum(one for one in found if isinstance(one, int))

    async def cold_slots(self) -> int:
        """Return the cold runners of all operators, each of which reads the queues of all shards."""
        found = await ask_all_soon(shard.cold_slots() for shard in self._shards)
        some_value(found)
        return max(one for one in found if isinstance(one, int))

    async def leave(
        self, *, session_id: str | None = None, room: str | None = None, force: bool = False
    ) -> LeaveOutcome:
        """End a session for its caller, in the shard of its room."""
        if room:
            shard = self._by_room(room)
        else:
            try:
                shard = await self._find(session_id or "")
            except NotFoundError:
                return LeaveOutcome("absent", session_id or "", "")
        return await shard.leave(session_id=session_id, room=room, force=force)

    async def oldest_wait_s(self) -> float:
        """Return for how long the oldest entry of all queues that answer has waited."""
        waits = await ask_all(shard.oldest_wait_s() for shard in self._shards)
        some_value(waits)
        return max(wait for wait in waits if not isinstance(wait, BaseException))

    # --- Looking.

    async def session(self, session_id: str, *, room: str | None = None) -> SessionRecord:
        """Return one session's record; its room or the index says where it is."""
        shard = self._by_room(room) if room else await self._find(session_id)
        return await shard.session(session_id)

    async def sessions(
        self,
        *,
        state: State | None = None,
        room: str | None = None,
        user_id: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> tuple[list[SessionRecord], str | None]:
        """Return a page of all shards' sessions, newest first: each shard's page, merged."""
        shards = [self._by_room(room)] if room is not None else self._shards
        pages = all_values(
            await ask_all(
                shard.sessions(state=state, room=room, user_id=user_id, limit=limit, cursor=cursor)
                for shard in shards
            )
        )
        # Below a cursor its shard may have more: what others have there belongs to a later page.
        reached = max((_place(cursor) for _, cursor in pages if cursor), default=None)
        found = sorted((one for page, _ in pages for one in page), key=_at, reverse=True)
        fits = [one for one in found if reached is None or _at(one) >= reached]
        if len(fits) > limit or (len(fits) == limit and (reached or len(found) > limit)):
            return fits[:limit], _cursor(_at(fits[limit - 1]))
        return fits, _cursor(reached) if reached else None

    # --- Holding.

    async def launch_record(self, session_id: str, epoch: int) -> Launch:
        """Return what a cold runner is to run."""
        return await (await self._find(session_id)).launch_record(session_id, epoch)

    async def confirm_running(
        self, session_id: str, epoch: int, holder: Holder, *, room: str | None = None
    ) -> None:
        """Confirm that the holder's bot may enter the room now."""
        shard = self._by_room(room) if room else await self._find(session_id)
        await shard.confirm_running(session_id, epoch, holder)

    async def renew(self, renewals: Sequence[Renewal]) -> list[RenewalResult]:
        """Prolong many leases, in one round trip a shard; ``away`` where a shard does not answer."""
        verdicts: list[RenewalResult] = ["away"] * len(renewals)
        places: defaultdict[int, list[int]] = defaultdict(list)
        for place, item in enumerate(renewals):
            places[self._number(item.room)].append(place)

        async def of_one(number: int) -> None:
            with contextlib.suppress(StoreUnavailableError):
                items = [renewals[place] for place in places[number]]
                answers = await self._shards[number].renew(items)
                for place, verdict in zip(places[number], answers, strict=True):
                    verdicts[place] = verdict

        await asyncio.gather(*map(of_one, places))
        return verdicts

    async def adopt(self, launch: Launch, holder: Holder) -> RenewalResult:
        """Tell a shard, and the index, of a session that they have forgotten."""
        verdict = await self._by_room(launch.room_url).adopt(launch, holder)
        if verdict == "held":
            with contextlib.suppress(StoreUnavailableError):
                await self._tell_index(launch)
        return verdict

    async def finish(
        self,
        session_id: str,
        epoch: int,
        reason: str,
        detail: str | None = None,
        *,
        by: str | None = None,
        room: str | None = None,
    ) -> bool:
        """Bring a session to the terminal state of ``reason``; True when the caller ended it."""
        shard = self._by_room(room) if room else await self._find(session_id)
        return await shard.finish(session_id, epoch, reason, detail, by=by)

    # --- Which shard.

    def _number(self, room: str) -> int:
        return shard_of(room, len(self._shards))

    def _by_room(self, room: str) -> RedisStore:
        return self._shards[self._number(room)]

    def _home(self, session_id: str) -> RedisStore:
        """The shard that has the id's entry of the index."""
        return self._shards[shard_of(session_id, len(self._shards))]

    async def _find(self, session_id: str) -> RedisStore:
        """The shard in which a session is; raises ``NotFoundError`` where there is none."""
        number = await self._home(session_id).shard_of(session_id)
        if number is None or number >= len(self._shards):
            raise no_session(session_id)
        return self._shards[number]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({redacted_url(self.url)}, {len(self._shards)} shards)"


def _at(record: SessionRecord) -> tuple[int, str]:
    return record.created_ms, record.session_id


def _place(cursor: str) -> tuple[int, str]:
    at, _, sid = cursor.partition("|")
    return int(at), sid


def _cursor(place: tuple[int, str]) -> str:
    return f"{place[0]}|{place[1]}"
