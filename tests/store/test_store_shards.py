"""Rooms over three shards: on one server, and on a cluster of three primaries."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from cordboard.contract.errors import (
    NotFoundError,
    NotHolderError,
    SessionInUseError,
    SettingsError,
    StoreUnavailableError,
    TooManySessionsError,
)
from cordboard.contract.launch import Launch
from cordboard.store import (
    Holder,
    JoinLimits,
    RedisStore,
    Registration,
    Renewal,
    SessionFilter,
    SessionStore,
    open_store,
)
from cordboard.store.keys import Keys, shard_of, shard_tags
from cordboard.store.sessions import SessionReader
from cordboard.store.sharding.index import Claim
from cordboard.store.sharding.lending import SlotLending
from cordboard.store.sharding.slots import RUNNERS_PER_SHARD, ShardLoad, home_shards, slot_shares
from cordboard.store.sharding.store import ShardedStore
from redis_support import Primaries, primaries, watched

SHARDS = 3
_numbers = itertools.count()


@pytest.fixture(scope="module")
def three() -> Iterator[Primaries]:
    """A cluster of three primaries."""
    with primaries() as found:
        yield found


@pytest.fixture(params=["one server", "a cluster"])
async def plane(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[ShardedStore]:
    """A store over three shards that are empty."""
    cluster = request.param == "a cluster"
    url = request.getfixturevalue("three").url if cluster else redis_url
    async with open_store(url, shards=SHARDS) as opened:
        assert isinstance(opened, ShardedStore)
        for shard in opened.shards:
            if cluster:
                await shard.connection.client.flushdb(target_nodes="primaries")
            else:
                await shard.connection.client.flushdb()
        yield opened


def room(shard: int) -> str:
    """Return a room of a shard, another one each time."""
    names = (f"webrtc:{next(_numbers)}" for _ in itertools.count())
    return next(name for name in names if shard_of(name, SHARDS) == shard)


def small_homes(url: str) -> ShardedStore:
    """A store in which each shard is the home of one runner."""
    stores = [RedisStore(url, Keys(tag)) for tag in shard_tags(SHARDS)]
    lending = SlotLending([store.runners for store in stores], runners_per_shard=1)
    return ShardedStore(stores, lending=lending)


async def join(store: SessionStore, session_id: str, where: str, **over: Any) -> Any:
    return await store.accept(Launch(session_id, where, epoch=1, **over), queue_max=100)


async def run(store: ShardedStore, session_id: str, where: str) -> int:
    """Bring a session to running, with a runner that is in no pool; return its epoch."""
    accepted = await join(store, session_id, where)
    shard = store.shards[shard_of(where, SHARDS)]
    await shard.placement.assign(session_id, accepted.epoch, job_name="job")
    await store.confirm_running(session_id, accepted.epoch, HOLDER, room=where)
    return int(accepted.epoch)


HOLDER = Holder("c", "http://127.0.0.1:9", "cold", 7)


class TestTags:
    def test_one_shard_has_the_usual_tag(self) -> None:
        """One shard has the key names of a plane without shards."""
        assert shard_tags(1) == ("cb0",)
        assert Keys().launches == "launches:{cb0}"

    @pytest.mark.parametrize("count", [2, 3, 13])
    def test_tags_divide_the_slots_evenly(self, count: int) -> None:
        """Each of N shards lies in another N-th of a cluster's slots."""
        from redis.crc import key_slot

        slots = [key_slot(Keys(tag).leases.encode()) for tag in shard_tags(count)]
        assert [slot * count // 16384 for slot in slots] == list(range(count))

    def test_rooms_spread_over_the_shards(self) -> None:
        """Rooms spread over the shards."""
        found = [shard_of(f"https://acme.daily.co/{i}", SHARDS) for i in range(3000)]
        assert all(900 < found.count(number) < 1100 for number in range(SHARDS))


class TestAccept:
    """Joins whose room and id may be in different shards."""

    @pytest.mark.parametrize("shard", range(SHARDS))
    async def test_first_join_gets_a_session_in_the_shard_of_its_room(
        self, plane: ShardedStore, shard: int
    ) -> None:
        """A first join is a new session in the shard of its room, found by its id."""
        where = room(shard)
        accepted = await join(plane, "call-7", where)
        assert (accepted.reused, accepted.epoch) == (False, 1)
        assert (await plane.session("call-7")).room_url == where
        assert [await one.queue.depth() for one in plane.shards] == [
            int(number == shard) for number in range(SHARDS)
        ]

    @pytest.mark.parametrize("shard", range(SHARDS))
    async def test_same_session_id_twice_is_the_same_session(
        self, plane: ShardedStore, shard: int
    ) -> None:
        """The same sessionId twice is the same session."""
        where = room(shard)
        first, second = await join(plane, "a", where), await join(plane, "a", where)
        assert (second.reused, second.session_id, second.epoch) == (True, "a", first.epoch)

    async def test_join_in_busy_room_returns_the_holder(self, plane: ShardedStore) -> None:
        """A busy room returns its holder, even for an id that is live elsewhere, and claims nothing."""
        where = room(0)
        await join(plane, "holder", where)
        await join(plane, "elsewhere", room(1))
        for sid in ("other", "elsewhere"):
            met = await join(plane, sid, where)
            assert (met.session_id, met.reused) == ("holder", True)
        with pytest.raises(NotFoundError):
            await plane.session("other")
        assert await plane.joins.index_of("other").find("other") is None

    @pytest.mark.parametrize("shard", range(SHARDS))
    async def test_session_id_live_in_another_room_is_refused(
        self, plane: ShardedStore, shard: int
    ) -> None:
        """An id that is live in another room is refused, whatever shard either room is in."""
        there = room(0)
        await join(plane, "a", there)
        with pytest.raises(SessionInUseError) as caught:
            await join(plane, "a", room(shard))
        assert caught.value.extra["room_url"] == there

    @pytest.mark.parametrize("shard", range(SHARDS))
    async def test_session_id_of_an_ended_session_gets_a_higher_epoch(
        self, plane: ShardedStore, shard: int
    ) -> None:
        """An id that has ended is a new session with a higher epoch, and listed once."""
        first = room(0)
        for sid in ("x", "y"):  # so that the room's epoch is beyond a fresh room's
            epoch = await run(plane, sid, first)
            await plane.finish(sid, epoch, "left")
        epoch = await run(plane, "a", first)
        assert await plane.finish("a", epoch, "left")
        again = await join(plane, "a", room(shard))
        assert not again.reused
        assert again.epoch > epoch
        page, _ = await plane.sessions()
        assert [one.session_id for one in page].count("a") == 1

    async def test_concurrent_joins_for_one_room_make_one_session(
        self, plane: ShardedStore
    ) -> None:
        """Of many concurrent joins for one room exactly one is new."""
        where = room(1)
        answers = await asyncio.gather(*(join(plane, f"s{i}", where) for i in range(50)))
        assert sum(not answer.reused for answer in answers) == 1

    async def test_concurrent_joins_with_one_id_make_one_session(self, plane: ShardedStore) -> None:
        """Of many concurrent joins with one id for rooms of all shards one is new; its end frees the id."""
        for _ in range(5):
            rooms = [room(number % SHARDS) for number in range(12)]
            joins = (join(plane, "a", where) for where in rooms)
            answers = await asyncio.gather(*joins, return_exceptions=True)
            new = [one for one in answers if not isinstance(one, BaseException)]
            refused = [one for one in answers if isinstance(one, BaseException)]
            assert len(new) == 1
            assert all(
                isinstance(one, SessionInUseError | StoreUnavailableError) for one in refused
            )
            live = [await shard.placement.live_count() for shard in plane.shards]
            assert sum(live) == 1
            assert (await plane.leave(session_id="a")).outcome == "cancelled"


async def test_oldest_wait_is_that_of_all_shards(plane: ShardedStore) -> None:
    """The oldest queued launch of all shards determines the wait."""
    assert await plane.oldest_wait_s() == 0
    await join(plane, "a", room(2))
    await asyncio.sleep(0.01)
    assert await plane.oldest_wait_s() > 0


class TestClaims:
    """Gateways that die or freeze between two steps of a join."""

    async def test_claim_of_a_dead_gateway_blocks_no_room(self, plane: ShardedStore) -> None:
        """A claim without a session keeps the id from no room."""
        dead = Launch("a", room(0), epoch=1)
        await plane.joins.index_of("a").claim(dead, 0)
        assert not (await join(plane, "a", room(1))).reused

    async def test_old_claim_of_a_frozen_gateway_is_refused(self, plane: ShardedStore) -> None:
        """A gateway that continues after its id moved to another shard accepts nothing with its old claim."""
        frozen = Launch("a", room(0), epoch=1)
        claim = await plane.joins.index_of("a").claim(frozen, 0)
        await join(plane, "a", room(1))
        answer = await plane.joins.shards[0].accept(frozen, "by", claim, queue_max=9, limit_sets=[])
        assert answer == ["retired"]
        with pytest.raises(SessionInUseError):
            await plane.accept(frozen, queue_max=9)

    async def test_retired_claim_that_was_not_moved_is_replaced(self, plane: ShardedStore) -> None:
        """A claim that was retired, and not moved, is followed by a new one."""
        where = room(0)
        claim = await plane.joins.index_of("a").claim(Launch("a", where, epoch=1), 0)
        await plane.joins.shards[0].retire(Launch("a", room(0), epoch=1), claim.token)
        assert not (await join(plane, "a", where)).reused
        assert (await plane.session("a")).room_url == where

    async def test_epoch_outlives_the_gateway_that_moved_the_id(self, plane: ShardedStore) -> None:
        """The epoch of an id is kept when the gateway that moved the id dies."""
        epoch = 0
        where = room(0)
        for _ in range(3):
            epoch = await run(plane, "a", where)
            await plane.finish("a", epoch, "left")
        target = Launch("a", room(1), epoch=1)
        await plane.joins.claim(target, 1, "?")
        assert (await plane.accept(target, queue_max=9)).epoch > epoch

    async def test_repeated_steps_have_the_same_reply(self, plane: ShardedStore) -> None:
        """Each step that is sent twice has the same reply."""
        launch, home = Launch("a", room(0), epoch=1), plane.joins.index_of("a")
        ours = await home.claim(launch, 0)
        again = await home.claim(launch, 0)
        assert (again.token, again.is_new) == (ours.token, False)
        for _ in range(2):
            assert (
                await plane.joins.shards[0].retire(Launch("a", room(0), epoch=1), ours.token) == 0
            )
            assert await home.move(launch, ours.token, Claim(1, "u", 5))
        assert not await home.move(launch, ours.token, Claim(2, "v", 5))
        assert await home.claim(launch, 1) == Claim(1, "u", 5)

    async def test_join_restores_a_lost_index_entry(self, plane: ShardedStore) -> None:
        """An entry that a failover has lost is written again by the same join."""
        where = room(2)
        await run(plane, "a", where)
        home = plane.shards[shard_of("a", SHARDS)]
        await home.connection.client.delete(home.keys.session_shard("a"))
        with pytest.raises(NotFoundError):
            await plane.session("a")
        assert (await join(plane, "a", where)).reused
        assert (await plane.session("a")).state == "running"


class TestHolding:
    async def test_session_lives_by_room_or_by_id(self, plane: ShardedStore) -> None:
        """A session runs, is renewed, asked to leave, and ends, by room or by id."""
        where = room(1)
        epoch = await run(plane, "a", where)
        assert (await plane.launch_record("a", epoch)).room_url == where
        renewal = Renewal("a", epoch, HOLDER, 0.0, where)
        assert await plane.renew([renewal]) == ["held"]
        with pytest.raises(NotHolderError):
            await plane.leave(session_id="b", room=where)
        assert (await plane.leave(session_id="a")).outcome == "stopping"
        assert await plane.renew([renewal]) == ["stop"]
        assert await plane.finish("a", epoch, "left")
        assert (await plane.leave(session_id="a")).outcome == "absent"
        assert (await plane.leave(session_id="never")).outcome == "absent"

    async def test_renewals_of_all_shards_keep_their_order(self, plane: ShardedStore) -> None:
        """The results of renewals in all shards are in the order of the renewals."""
        rooms = [room(number % SHARDS) for number in range(9)]
        epochs = [await run(plane, f"s{i}", where) for i, where in enumerate(rooms)]
        asked = [
            Renewal(f"s{i}", epochs[i] + i % 2, HOLDER, 0.0, where) for i, where in enumerate(rooms)
        ]
        assert await plane.renew(asked) == ["held", "lost"] * 4 + ["held"]

    async def test_adopt_restores_the_index_entry(self, plane: ShardedStore) -> None:
        """A session that all shards have lost is found again once its holder has restored it."""
        where = room(0)
        assert await plane.adopt(Launch("a", where, epoch=4), HOLDER) == "held"
        assert (await plane.session("a")).epoch == 4

    async def test_each_shard_publishes_its_changes(self, plane: ShardedStore) -> None:
        """Every shard publishes its own changes."""
        for number, shard in enumerate(plane.shards):
            async with shard.changes() as changes:
                await join(plane, f"c{number}", room(number))
                assert (await anext(changes)).session_id == f"c{number}"


class TestPages:
    @pytest.mark.parametrize("limit", [1, 3, 7, 50])
    async def test_pages_of_all_shards_are_complete(self, plane: ShardedStore, limit: int) -> None:
        """Pages go from the newest to the oldest over all shards, and contain each session once."""
        for number in range(17):
            await join(
                plane, f"s{number}", room(random.randrange(SHARDS)), user_id=f"u{number % 2}"
            )
        for over in (SessionFilter(), SessionFilter(user_id="u1")):
            seen, cursor = [], None
            while True:
                page, cursor = await plane.sessions(over, limit=limit, cursor=cursor)
                assert len(page) <= limit
                seen += page
                if cursor is None:
                    break
            wanted = {f"s{n}" for n in range(17) if not over.user_id or n % 2}
            assert {one.session_id for one in seen} == wanted
            assert len(seen) == len(wanted)
            assert [one.created_ms for one in seen] == sorted(
                (one.created_ms for one in seen), reverse=True
            )

    async def test_short_page_of_one_shard_bounds_the_merged_page(
        self, plane: ShardedStore
    ) -> None:
        """If the page of one shard ends early, sessions of others beyond it wait for a later page."""
        for shard in plane.shards:
            shard.reader = SessionReader(shard.connection, shard.keys, examined_max=2)
        for number in range(24):
            epoch = (await join(plane, f"s{number}", room(number % 5 % SHARDS))).epoch
            if number % 4 == 0:
                await plane.finish(f"s{number}", epoch, "cancelled")
            await asyncio.sleep(0.002)
        seen, cursor = [], None
        while True:
            page, cursor = await plane.sessions(SessionFilter(state="cancelled"), cursor=cursor)
            seen += [one.session_id for one in page]
            if cursor is None:
                break
        assert seen == ["s20", "s16", "s12", "s8", "s4", "s0"]

    async def test_page_of_a_room_comes_from_its_shard(self, plane: ShardedStore) -> None:
        """The sessions of a room come from its shard."""
        where = room(2)
        await join(plane, "a", where)
        await join(plane, "b", room(1))
        page, _ = await plane.sessions(SessionFilter(room=where))
        assert [one.session_id for one in page] == ["a"]


class TestOverview:
    async def test_runner_is_counted_once(self, plane: ShardedStore) -> None:
        """The slots of a runner in several shards are added up; what waits in each shard, too."""
        await plane.register(Registration("r1", "http://127.0.0.1:9", capacity=6))
        for number in range(4):
            await join(plane, f"s{number}", room(number % SHARDS))
        found = await plane.overview()
        assert (found.queued, found.live) == (4, 4)
        (runner,) = found.runners
        assert (runner.runner_id, runner.capacity, runner.free) == ("r1", 6, 6)


class TestShares:
    def test_few_runners_have_all_shards_as_home(self) -> None:
        """Few runners are at home in all shards, many in few of them, none in no shard."""
        assert home_shards(3, 0, 1) == home_shards(3, RUNNERS_PER_SHARD, 1) == {0, 1, 2}
        assert home_shards(13, 13 * RUNNERS_PER_SHARD, 12) == {12}
        assert home_shards(13, 10**6, 5) == {5}
        assert home_shards(4, 2 * RUNNERS_PER_SHARD, 3) == {3, 0}

    def test_free_slots_stay_at_home_unless_joins_wait_elsewhere(self) -> None:
        """Free slots stay in the home shards, except those for which joins wait elsewhere."""
        seen = [ShardLoad(1, 0), ShardLoad(0, 2), None]
        assert slot_shares(8, seen, [1, 0, 0], 0, {0}) == [6, 2, 0]
        assert slot_shares(8, [ShardLoad(0, 0), None, None], [8, 0, 0], 0, {1}) == [0, 0, 0]


class TestSlots:
    @staticmethod
    async def _free(plane: ShardedStore, runner: str) -> list[int]:
        return [(await shard.runners.load(runner))[0] for shard in plane.shards]

    async def test_slots_are_divided_evenly(self, plane: ShardedStore) -> None:
        """The slots of a runner are divided evenly; none is lost, none counts twice."""
        assert await plane.register(Registration("r", "http://r", capacity=8)) == 8
        free = await self._free(plane, "r")
        assert sum(free) == 8
        assert max(free) - min(free) <= 1

    async def test_slots_move_to_where_joins_wait(self, plane: ShardedStore) -> None:
        """The rooms of one shard can use all slots of a runner, one after another."""
        runner = Registration("r", "http://r", capacity=5)
        await plane.register(runner)
        taken = 0
        for number in range(7):
            accepted = await join(plane, f"s{number}", room(1))
            shard = plane.shards[1]
            if (await shard.placement.assign(f"s{number}", accepted.epoch)).outcome == "none":
                assert await plane.needs_rebalancing("r") is (taken < 5)
                await plane.register(runner)
                await shard.placement.assign(f"s{number}", accepted.epoch)
            taken += (await plane.session(f"s{number}")).state == "starting"
        assert taken == 5
        assert sum(await self._free(plane, "r")) == 0

    async def test_racing_moves_never_double_a_slot(self, plane: ShardedStore) -> None:
        """Joins, ends and moves race: no more slots are used than exist, and all are free at the end."""
        capacity = 7
        runner = Registration("r", "http://r", capacity=capacity)
        await plane.register(runner)
        held: set[str] = set()
        most = 0

        async def caller(number: int) -> None:
            nonlocal most
            for turn in range(12):
                sid, where = f"s{number}-{turn}", room(random.choice([0, 0, 0, 1, 2]))
                shard = plane.shards[shard_of(where, SHARDS)]
                epoch = (await join(plane, sid, where)).epoch
                while (await shard.placement.assign(sid, epoch)).outcome == "none":  # noqa: ASYNC110
                    await asyncio.sleep(0.002)
                held.add(sid)
                most = max(most, len(held))
                await asyncio.sleep(random.random() / 200)
                held.discard(sid)
                assert await plane.finish(sid, epoch, "bot_finished", room=where)

        async def move() -> None:
            while True:
                await plane.register(runner)
                assert sum(plane.lending.shares("r")) <= capacity
                await asyncio.sleep(0)

        moving = [asyncio.create_task(move()) for _ in range(2)]
        await asyncio.gather(*map(caller, range(12)))
        for task in moving:
            task.cancel()
        await asyncio.gather(*moving, return_exceptions=True)
        assert 0 < most <= capacity
        assert await plane.register(runner) == capacity
        assert sum(await self._free(plane, "r")) == capacity

    async def test_many_runners_beat_at_home_only(self, plane: ShardedStore) -> None:
        """Many runners send heartbeats to their home shards alone, yet the joins of one shard can use all slots."""
        async with contextlib.AsyncExitStack() as stack:
            runners = {
                Registration(f"r{n}", f"http://r{n}", capacity=2): await stack.enter_async_context(
                    small_homes(plane.url)
                )
                for n in range(6)
            }
            for _ in range(3):
                for runner, store in runners.items():
                    await store.register(runner)
            for shard in plane.shards:
                assert 0 < await shard.connection.client.zcard(shard.keys.runners) <= 6
            beaten = [
                len(await shard.connection.client.keys(shard.keys.runner("*")))
                for shard in plane.shards
            ]
            offering = [
                await shard.connection.client.zcount(shard.keys.runner_free, 1, "+inf")
                for shard in plane.shards
            ]
            assert sum(beaten) <= 18
            assert sum(offering) < 12
            taken = 0
            while taken < 12:
                sid, where = f"m{taken}", room(1)
                epoch = (await join(plane, sid, where)).epoch
                while (await plane.shards[1].placement.assign(sid, epoch)).outcome == "none":
                    for runner, store in runners.items():
                        if await store.needs_rebalancing(runner.runner_id):
                            await store.register(runner)
                taken += 1
            assert [await shard.runners.free_slots() for shard in plane.shards] == [0, 0, 0]

    async def test_dead_runner_leaves_the_pool(self, store: RedisStore) -> None:
        """A runner that was killed is removed from the pool, even if it had no free slot."""
        await store.register(Registration("dead", "http://dead", capacity=0))
        await store.connection.client.zadd(
            store.keys.runners, {"dead": 1}
        )  # its last beat is long ago
        await store.register(Registration("r", "http://r", capacity=1))
        for key in (store.keys.runners, store.keys.runner_free):
            assert await store.connection.client.zrange(key, 0, -1) == ["r"]

    async def test_late_registration_changes_nothing(self, plane: ShardedStore) -> None:
        """A registration that arrives after a later one returns no slot that moved elsewhere."""
        runner = Registration("r", "http://r", capacity=6)
        await plane.register(runner)
        (before, _) = await plane.shards[0].runners.load("r")
        await plane.shards[0].runners.register(runner, turn=1)
        assert (await plane.shards[0].runners.load("r"))[0] == before

    async def test_draining_runner_offers_nothing(self, plane: ShardedStore) -> None:
        """A draining runner offers nothing in any shard, and one that stops is removed."""
        await plane.register(Registration("r", "http://r", capacity=6))
        await plane.register(Registration("r", "http://r", capacity=6, draining=True))
        assert [await shard.runners.free_slots() for shard in plane.shards] == [0] * SHARDS
        await plane.unregister("r")


class TestOpening:
    async def test_unreachable_servers_are_named_without_password(self) -> None:
        """The error about an unreachable cluster or Sentinel does not contain its password."""
        for url in ("redis+cluster://:hush@127.0.0.1:1,127.0.0.1:2",
                    "redis+sentinel://:hush@127.0.0.1:1/main/0"):  # fmt: skip
            for shards in (1, 2):
                async with open_store(url, shards=shards) as gone:
                    with pytest.raises(StoreUnavailableError) as caught:
                        await gone.ping()
                    assert caught.value.retry_after_s
                    assert "127.0.0.1:1" in str(caught.value)
                    assert "hush" not in str(caught.value)

    @pytest.mark.parametrize(
        "url",
        ["redis+sentinel://127.0.0.1:1", "redis+sentinel://127.0.0.1/main/x", "redis+cluster://",
         "redis+cluster://127.0.0.1/3", "redis+cluster://127.0.0.1:x", "http://127.0.0.1"],
    )  # fmt: skip
    def test_invalid_url_is_refused(self, url: str) -> None:
        """A URL without a master or a host, or with a database of a cluster, is refused."""
        with pytest.raises(SettingsError):
            open_store(url)

    def test_shards_must_be_positive(self) -> None:
        """At least one shard is needed."""
        with pytest.raises(SettingsError):
            open_store("redis://127.0.0.1", shards=0)


async def test_one_shard_in_a_cluster(three: Primaries) -> None:
    """A cluster serves a plane of one shard, too."""
    async with RedisStore(three.url) as store:
        await store.ping()
        where = f"webrtc:{next(_numbers)}"
        await store.register(Registration("r", "http://r", capacity=1))
        epoch = (await join(store, "one", where)).epoch
        assert (await store.placement.assign("one", epoch)).outcome == "assigned"
        assert await store.placement.leased_count() == 1
        assert await store.placement.suspects() == []
        await store.finish("one", epoch, "left")
        await store.unregister("r")


async def test_promoted_replica_serves_behind_sentinel() -> None:
    """After the master's death the promoted replica serves; a repeated join is the same session."""
    with watched() as redis:
        async with RedisStore(redis.url) as store:
            first = await join(store, "a", "webrtc:s")
            await store.connection.client.execute_command("WAIT", 1, 2000)
            redis.master.signal(9)  # type: ignore[arg-type]
            with pytest.raises(StoreUnavailableError):
                await join(store, "a", "webrtc:s")
            for _ in range(200):
                try:
                    again = await join(store, "a", "webrtc:s")
                    break
                except StoreUnavailableError:
                    await asyncio.sleep(0.1)
            assert (again.reused, again.session_id, again.epoch) == (True, "a", first.epoch)
            assert not (await join(store, "b", "webrtc:t")).reused


async def test_checks_ask_the_servers_of_each_shard(plane: ShardedStore) -> None:
    """Each shard's own server is checked, the primaries of a cluster, too."""
    await plane.check_permitted()
    await plane.check_writable()
    assert await plane.eviction_policy() is None
    for shard in plane.shards:
        memory = await shard.connection.client.execute_command(
            "INFO", "memory", **await shard.connection.target()
        )
        assert memory["maxmemory_policy"] == "noeviction"
        assert await shard.placement.remove_old_records() == 0
    assert await plane.warm_slots() == 0
    await plane.register(Registration("r1", "http://r1", capacity=7))
    assert await plane.warm_slots() == 7


async def test_limit_counts_sessions_of_all_shards(plane: ShardedStore) -> None:
    """A user's sessions of all shards count, and so does each end."""
    limits = JoinLimits(per_user=3)

    async def ask(number: int) -> Any:
        launch = Launch(f"s{number}", room(number % SHARDS), epoch=1, user_id="ada")
        return await plane.accept(launch, queue_max=9, limits=limits)

    for number in range(3):
        await ask(number)
    with pytest.raises(TooManySessionsError):
        await ask(3)
    await plane.leave(session_id="s1")
    await ask(3)
