"""Rooms spread over several shards, each with keys and a connection of its own.

A connection each, so that a primary that is away holds up its own shard alone.
"""

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import Awaitable, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, TypeVar

from cordboard.contract.errors import NotFoundError, SessionInUseError, StoreUnavailableError
from cordboard.contract.launch import Launch
from cordboard.contract.lease import RenewalVerdict
from cordboard.contract.state import State
from cordboard.contract.urls import redacted_url
from cordboard.store.client import Store
from cordboard.store.connection import token
from cordboard.store.hints import Hints
from cordboard.store.index import Claim
from cordboard.store.keys import Keys, shard_of, shard_tags
from cordboard.store.refusals import RETRY_AFTER_S
from cordboard.store.rooms import accepted
from cordboard.store.sessions import no_session
from cordboard.store.slots import LOOKS_A_SECOND, Seen, are_ill_shared, homes, shares
from cordboard.store.values import (
    Accepted,
    Holder,
    Leave,
    Renewal,
    RunnerInfo,
    SessionRecord,
)

CLAIMS_MAX: Final = 8  # tries, each of which another gateway's join for the same id has undone
UNCLAIMED: Final = "?"  # the id is yet to be claimed, once its room has turned out to be free

_T = TypeVar("_T")


class ShardedStore(Store):
    """What gateways and runners see of all shards; an operator works on each shard by itself.

    Args:
        url: Where Redis is.
        shards: How many shards there are; the same for all who open it.
        lease_s: Seconds that a lease lasts.
    """

    def __init__(self, url: str, shards: int, lease_s: float) -> None:
        # Not that of Store: what a caller asks of no certain shard has to fail.
        self.url = url
        self._shards = tuple(Store(url, Keys(tag, lease_s)) for tag in shard_tags(shards))
        self.periods = self._shards[0].periods
        self._shares: dict[str, list[int]] = {}
        self._hints = Hints()
        self._moving = asyncio.Lock()
        self._turns = itertools.count(1)
        self._runners = 0  # alive in all, as far as is known
        self._is_wanted = False  # by a shard that is no home, or while one of those is away
        self._looks_at = 0.0

    @property
    def shards(self) -> tuple[Store, ...]:
        """The shards, each by itself."""
        return self._shards

    async def close(self) -> None:
        """Close all connections of all shards."""
        await asyncio.gather(*(shard.close() for shard in self._shards))

    async def ping(self) -> None:
        """Ask for a sign of life; one shard's is enough, as its rooms can be served."""
        _some_value(await _all(shard.ping() for shard in self._shards))

    async def check_writable(self) -> None:
        """Write one small key in each shard; one that takes it is enough, as its rooms can be served."""
        _some_value(await _all(shard.check_writable() for shard in self._shards))

    async def check_permitted(self) -> None:
        """Try every command and every kind of key, in each shard that answers."""
        _some_value(await _all(shard.check_permitted() for shard in self._shards))

    async def evicting_policy(self) -> str | None:
        """Return the first policy by which a server of a shard gives keys away; None for none."""
        found = await _all(shard.evicting_policy() for shard in self._shards)
        return next((policy for policy in found if isinstance(policy, str)), None)

    # --- Joining and leaving.

    async def accept(
        self, launch: Launch, *, queue_max: int, runner: RunnerInfo | None = None
    ) -> Accepted:
        """Decide one join. The id is claimed first, unless the room is likely to refuse it."""
        number, by = self._number(launch.room_url), token()
        shard, moved_from = self._shards[number], None
        claim = await self._first_claim(launch, number)
        for _ in range(CLAIMS_MAX):
            answer = await shard.ask_accept(
                launch, by, queue_max=queue_max, runner=runner, claim=claim
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
        """
        home, sid = self._home(launch.session_id), launch.session_id
        self._hints.free(launch.room_url)
        for _ in range(CLAIMS_MAX):
            found = await home.claim(launch, number)
            if found.shard == number and found.token != refused:
                return found, None
            try:
                epoch = await self._shards[found.shard].retire(sid, found.token)
            except SessionInUseError as error:
                if error.extra["room_url"] != launch.room_url:
                    raise
                break  # it lives since a moment ago where it is asked for: the room says so
            ours = Claim(number, token(), max(found.above, epoch))
            if await home.move(launch, found.token, ours):
                old = Claim(found.shard, found.token, epoch)
                return ours, old if found.shard != number else None
        return Claim(number, UNCLAIMED), None

    async def _accepted(
        self, launch: Launch, answer: Sequence[Any], claim: Claim, moved_from: Claim | None
    ) -> Accepted:
        """Say what was decided; put the index right after it where that is needed."""
        number = self._number(launch.room_url)
        if answer[0] == "full":
            self._hints.full(number)
        elif answer[0] in {"new", "reused"}:
            self._hints.busy(launch.room_url)
        with suppress(StoreUnavailableError):  # not needed for what was decided
            if answer[0] in {"full", "reused"} and answer[-1]:
                await self._home(launch.session_id).give_back(launch.session_id, claim)
            elif answer[:2] == ["reused", launch.session_id] and claim.token == UNCLAIMED:
                await self._tell_index(launch)
            elif answer[0] == "new" and moved_from and moved_from.above:
                other = self._shards[moved_from.shard]
                await other.forget(launch.session_id, moved_from.above)
        return accepted(launch, answer)

    async def _tell_index(self, launch: Launch) -> None:
        """Name a live session's shard: a failover may have lost the entry."""
        claim = Claim(self._number(launch.room_url), token())
        await self._home(launch.session_id).tell(launch, claim)

    async def leave(
        self, *, session_id: str | None = None, room: str | None = None, force: bool = False
    ) -> Leave:
        """End a session for its caller, in the shard of its room."""
        if room:
            shard = self._by_room(room)
        else:
            try:
                shard = await self._find(session_id or "")
            except NotFoundError:
                return Leave("absent", session_id or "", "")
        return await shard.leave(session_id=session_id, room=room, force=force)

    async def oldest_wait_s(self) -> float:
        """Return for how long the oldest entry of all queues that answer has waited."""
        waits = await _all(shard.oldest_wait_s() for shard in self._shards)
        _some_value(waits)
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
        pages = _values(
            await _all(
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

    async def running(
        self, session_id: str, epoch: int, holder: Holder, *, room: str | None = None
    ) -> None:
        """Confirm that the holder's bot may enter the room now."""
        shard = self._by_room(room) if room else await self._find(session_id)
        await shard.running(session_id, epoch, holder)

    async def renew(self, renewals: Sequence[Renewal]) -> list[RenewalVerdict]:
        """Prolong many leases, in one round trip a shard; ``away`` where a shard does not answer."""
        verdicts: list[RenewalVerdict] = ["away"] * len(renewals)
        places: defaultdict[int, list[int]] = defaultdict(list)
        for place, item in enumerate(renewals):
            places[self._number(item.room)].append(place)

        async def of_one(number: int) -> None:
            with suppress(StoreUnavailableError):
                items = [renewals[place] for place in places[number]]
                answers = await self._shards[number].renew(items)
                for place, verdict in zip(places[number], answers, strict=True):
                    verdicts[place] = verdict

        await asyncio.gather(*map(of_one, places))
        return verdicts

    async def adopt(self, launch: Launch, holder: Holder) -> RenewalVerdict:
        """Tell a shard, and the index, of a session that they have forgotten."""
        verdict = await self._by_room(launch.room_url).adopt(launch, holder)
        if verdict == "held":
            with suppress(StoreUnavailableError):
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

    # --- Warm runners.

    async def register(self, runner: RunnerInfo) -> int:
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
            answers = await _all(self._set_share(number, runner, held[number]) for number in asked)
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
            _some_value(answers)
        if runner.draining:
            return 0
        return runner.capacity - sum(one.used for one in answers if isinstance(one, Seen))

    def _count(self, seen: Sequence[Seen | None], homes_each: int) -> None:
        """Reckon how many runners there are: each is counted in the shards of its home."""
        most = max((one.runners for one in seen if one), default=0)
        self._runners = most * len(seen) // homes_each

    async def _raise_shares(
        self, runner: RunnerInfo, wanted: list[int], seen: Sequence[Seen | None]
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
        self, runner: RunnerInfo, numbers: Iterable[int], wanted: Sequence[int]
    ) -> None:
        await _all(self._set_share(number, runner, wanted[number]) for number in numbers)

    async def _set_share(self, number: int, runner: RunnerInfo, share: int) -> Seen:
        """Tell one shard its share; what it may believe is never more than what is noted here."""
        held = self._shares[runner.runner_id]
        held[number] = max(held[number], share)  # until it has answered: the answer may be lost
        offered, turn = replace(runner, capacity=share), next(self._turns)
        free, waiting, runners = await self._shards[number].offer(offered, turn)
        used = 0 if runner.draining else share - free
        held[number] = max(share, used)  # those in use cannot be taken away
        return Seen(used, waiting, runners)

    async def lacks_slots(self, runner_id: str) -> bool:
        """Say whether a runner's slots are in one shard while joins wait in another.

        The more runners there are, the more rarely each one looks.
        """
        now = time.monotonic()
        if now < self._looks_at:
            return False
        self._looks_at = now + self._runners / LOOKS_A_SECOND
        seen = await _all(shard.pressure(runner_id) for shard in self._shards)
        self._is_wanted = are_ill_shared(
            [one for one in seen if not isinstance(one, BaseException)]
        )
        return self._is_wanted

    async def unregister(self, runner_id: str) -> None:
        """Forget a warm runner that stops, in all shards."""
        self._shares.pop(runner_id, None)
        _values(await _all(shard.unregister(runner_id) for shard in self._shards))

    # --- Which shard.

    def _number(self, room: str) -> int:
        return shard_of(room, len(self._shards))

    def _by_room(self, room: str) -> Store:
        return self._shards[self._number(room)]

    def _home(self, session_id: str) -> Store:
        """The shard that has the id's entry of the index."""
        return self._shards[shard_of(session_id, len(self._shards))]

    async def _find(self, session_id: str) -> Store:
        """The shard in which a session is; raises ``NotFoundError`` where there is none."""
        number = await self._home(session_id).shard_of(session_id)
        if number is None or number >= len(self._shards):
            raise no_session(session_id)
        return self._shards[number]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({redacted_url(self.url)}, {len(self._shards)} shards)"


async def _all(
    works: Iterable[Awaitable[_T] | Coroutine[Any, Any, _T]],
) -> list[_T | BaseException]:
    """Do all; where a shard is away its error stands for its answer, all else is raised."""
    answers = await asyncio.gather(*works, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, StoreUnavailableError):
            raise answer
    return answers


def _values(answers: Sequence[_T | BaseException]) -> list[_T]:
    """Return the answers; raises the first error among them."""
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return [answer for answer in answers if not isinstance(answer, BaseException)]


def _some_value(answers: Sequence[_T | BaseException]) -> None:
    """Raise the first error where there is no answer at all."""
    if all(isinstance(answer, BaseException) for answer in answers):
        _values(answers)


def _at(record: SessionRecord) -> tuple[int, str]:
    return record.created_ms, record.session_id


def _place(cursor: str) -> tuple[int, str]:
    at, _, sid = cursor.partition("|")
    return int(at), sid


def _cursor(place: tuple[int, str]) -> str:
    return f"{place[0]}|{place[1]}"
