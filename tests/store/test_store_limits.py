"""Limits on live sessions, and the owner of the id of an ended session."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cordboard.contract.errors import SessionUsedError, TooManySessionsError
from cordboard.contract.launch import Launch
from cordboard.store import (
    UNLIMITED,
    Holder,
    JoinLimits,
    RedisStore,
    Registration,
    SessionStore,
    open_store,
)
from cordboard.store.keys import shard_of
from cordboard.store.limits import limit_sets
from cordboard.store.sharding.shard import Shard
from cordboard.store.sharding.store import ShardedStore

SHARDS = 3
HOLDER = Holder("r1", "http://127.0.0.1:9", "warm", 7)
ONE = JoinLimits(per_user=1)
_numbers = itertools.count()


async def join(
    store: SessionStore, session_id: str, where: str, limits: JoinLimits = UNLIMITED, **over: Any
) -> Any:
    launch = Launch(session_id, where, epoch=1, **over)
    return await store.accept(launch, queue_max=100, limits=limits)


async def live_keys(store: RedisStore) -> list[str]:
    """Return the keys of all limit sets."""
    return [
        key async for key in store.connection.client.scan_iter(f"live_of:{{{store.keys.tag}}}*")
    ]


@pytest.fixture
async def three(redis_url: str) -> AsyncIterator[ShardedStore]:
    """Three empty shards."""
    async with open_store(f"{redis_url[:-1]}6", shards=SHARDS) as opened:
        assert isinstance(opened, ShardedStore)
        await opened.shards[0].connection.client.flushdb()
        yield opened


def room(shard: int) -> str:
    """A room of a shard, another one each time."""
    names = (f"webrtc:limit-{next(_numbers)}" for _ in itertools.count())
    return next(name for name in names if shard_of(name, SHARDS) == shard)


class TestOwner:
    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ({"user_id": "ada"}, {"user_id": "bob"}),
            ({"user_id": "ada"}, {}),
            ({"user_id": "u", "tenant_id": "a"}, {"user_id": "u", "tenant_id": "b"}),
            ({"user_id": "u", "tenant_id": "a"}, {"user_id": "u"}),
            ({"tenant_id": "a"}, {"tenant_id": "b"}),
        ],
    )
    @pytest.mark.parametrize("same_room", [True, False])
    async def test_nobody_else_takes_an_ended_id(
        self, store: RedisStore, first: Any, second: Any, same_room: bool
    ) -> None:
        """Another user, a user of another tenant, and a caller without a user are refused; the record stays as it was."""
        accepted = await join(store, "a", "webrtc:x", **first)
        await store.finish("a", accepted.epoch, "left")
        before = await store.session("a")
        with pytest.raises(SessionUsedError) as raised:
            await join(store, "a", "webrtc:x" if same_room else "webrtc:y", **second)
        assert (raised.value.status, raised.value.code) == (409, "session_id_used")
        assert await store.session("a") == before
        assert await store.queue.depth() == 0

    @pytest.mark.parametrize("second", [{"user_id": "bob"}, {}])
    async def test_id_without_an_owner_is_free_after_the_end(
        self, store: RedisStore, second: Any
    ) -> None:
        """A session without user and tenant belongs to nobody: its id is free after the end."""
        await store.finish("a", (await join(store, "a", "webrtc:x")).epoch, "left")
        assert not (await join(store, "a", "webrtc:y", **second)).reused

    async def test_owner_may_join_again(self, store: RedisStore) -> None:
        """The same user joins again, with a higher epoch; the old room no longer lists the session."""
        first = await join(store, "a", "webrtc:x", user_id="ada")
        await store.finish("a", first.epoch, "left")
        second = await join(store, "a", "webrtc:y", user_id="ada")
        assert second.epoch > first.epoch
        assert (
            await store.connection.client.zrange(store.keys.room_sessions("webrtc:x"), 0, -1) == []
        )

    async def test_owner_is_checked_in_all_shards(self, three: ShardedStore) -> None:
        """The same holds wherever the two rooms are; the owner reads the record, and joins again."""
        here, there = room(0), room(1)
        first = await join(three, "a", here, user_id="ada")
        await three.finish("a", first.epoch, "left")
        before = await three.session("a")
        for where in (there, room(2), here):
            with pytest.raises(SessionUsedError):
                await join(three, "a", where, user_id="bob")
            assert await three.session("a") == before
        assert (await join(three, "a", there, user_id="ada")).epoch > first.epoch

    async def test_refused_move_returns_the_id_to_its_owner(self, three: ShardedStore) -> None:
        """If the owner's join elsewhere is refused after the id was moved, nobody else gets the id."""
        here, there = room(0), room(1)
        first = await join(three, "a", here, user_id="ada")
        await three.finish("a", first.epoch, "left")
        launch = Launch("a", there, epoch=1, user_id="ada")
        claim, moved_from = await three.joins.claim(launch, 1, "?")
        assert moved_from is not None
        await join(three, "b", there, user_id="bob")  # the room is taken meanwhile
        answer = await three.joins.shards[1].accept(launch, "by", claim, queue_max=9, limit_sets=[])
        assert (await three.joins.settle(launch, answer, claim, moved_from)).reused
        assert (await three.session("a")).room_url == here
        with pytest.raises(SessionUsedError):
            await join(three, "a", room(2), user_id="bob")
        late = await three.joins.shards[1].accept(launch, "x", claim, queue_max=9, limit_sets=[])
        assert late[0] == "reused"
        await three.leave(room=there, force=True)
        late = await three.joins.shards[1].accept(launch, "x", claim, queue_max=9, limit_sets=[])
        assert late == ["retired"]


class TestLimits:
    @pytest.mark.parametrize(
        ("limits", "over", "code"),
        [
            (JoinLimits(per_user=2), {"user_id": "ada"}, "user"),
            (JoinLimits(per_tenant=2), {"tenant_id": "t"}, "tenant"),
            (JoinLimits(per_address=2, address="a1"), {}, "address"),
        ],
    )
    async def test_session_beyond_the_limit_is_refused(
        self, store: RedisStore, limits: JoinLimits, over: Any, code: str
    ) -> None:
        """At the limit a new session is refused, queued ones counted; one that ended frees its place."""
        for n in (1, 2):
            await join(store, f"s{n}", f"webrtc:{n}", limits, **over)
        with pytest.raises(TooManySessionsError) as raised:
            await join(store, "s3", "webrtc:3", limits, **over)
        error = raised.value
        assert (error.status, error.code, error.extra["limit"]) == (429, "too_many_sessions", code)
        assert error.retry_after_s
        assert await store.queue.depth() == 2
        await store.leave(session_id="s1")
        await join(store, "s3", "webrtc:3", limits, **over)

    async def test_live_session_is_never_refused(self, store: RedisStore) -> None:
        """The same session, and a busy room, return the live session as always."""
        await join(store, "s1", "webrtc:1", ONE, user_id="ada")
        assert (await join(store, "s1", "webrtc:1", ONE, user_id="ada")).reused
        await join(store, "s2", "webrtc:2", user_id="bob")
        assert (await join(store, "s3", "webrtc:2", ONE, user_id="ada")).session_id == "s2"

    async def test_other_callers_are_not_limited(self, store: RedisStore) -> None:
        """The same user id of another tenant is another user; a caller without a user id is none."""
        await join(store, "s1", "webrtc:1", ONE, user_id="u", tenant_id="a")
        await join(store, "s2", "webrtc:2", ONE, user_id="u", tenant_id="b")
        await join(store, "s3", "webrtc:3", ONE, tenant_id="a")
        await join(store, "s4", "webrtc:4", ONE, user_id="au", tenant_id="")

    async def test_every_end_frees_the_place_once(self, store: RedisStore) -> None:
        """Whatever ends a session, it stops counting, once; a recovery changes nothing."""
        await store.register(Registration("r1", "http://r1", capacity=9))
        limits = JoinLimits(per_user=9, per_address=9, address="a1")

        async def started(sid: str) -> int:
            await join(store, sid, f"webrtc:{sid}", limits, user_id="ada", tenant_id="t")
            await store.placement.assign(sid, 1)
            await store.confirm_running(sid, 1, HOLDER)
            return 1

        for sid in ("finished", "recovered", "lost"):
            await started(sid)
        for sid in ("cancelled", "expired"):
            await join(store, sid, f"webrtc:{sid}", limits, user_id="ada", tenant_id="t")
        assert len(await live_keys(store)) == 3
        client, keys = store.connection.client, store.keys
        names = [
            count.name for count in limit_sets(Launch("x", "webrtc:x", 1, "ada", tenant_id="t"))
        ]
        assert await Shard(store).count_live(names) == [5, 5]

        await store.finish("finished", 1, "bot_finished")
        await store.finish("finished", 1, "bot_finished")
        await store.leave(session_id="cancelled")
        await client.hset(keys.session("expired"), "deadline_ms", 1)
        await client.zadd(keys.deadlines, {"expired": 1})
        await store.placement.expire_overdue()
        assert await Shard(store).count_live(names) == [2, 2]
        await client.zadd(keys.leases, {"recovered": 1})
        assert (await store.placement.recover("recovered", 1)).outcome == "queued"
        assert await Shard(store).count_live(names) == [2, 2]
        await client.hset(keys.session("lost"), "attempt", 9)
        await client.zadd(keys.leases, {"lost": 1})
        assert (await store.placement.recover("lost", 1)).outcome == "failed"
        assert await Shard(store).count_live(names) == [1, 1]
        await store.leave(session_id="recovered")
        assert await live_keys(store) == [], "no set outlives its last session"

    async def test_restored_session_counts(self, store: RedisStore) -> None:
        """After Redis has lost its data, users and tenants count the sessions that their runners restore."""
        launch = Launch("s1", "webrtc:1", epoch=4, user_id="ada")
        assert await store.adopt(launch, HOLDER) == "held"
        with pytest.raises(TooManySessionsError):
            await join(store, "s2", "webrtc:2", ONE, user_id="ada")
        await store.finish("s1", 4, "left")
        await join(store, "s2", "webrtc:2", ONE, user_id="ada")

    async def test_concurrent_joins_do_not_exceed_the_limit(self, store: RedisStore) -> None:
        """Of many concurrent joins no more are accepted than the limit."""
        works = (join(store, f"s{n}", f"webrtc:{n}", ONE, user_id="ada") for n in range(20))
        answers = await asyncio.gather(*works, return_exceptions=True)
        assert sum(not isinstance(answer, BaseException) for answer in answers) == 1

    async def test_sessions_of_all_shards_count(self, three: ShardedStore) -> None:
        """Sessions of all shards count, also for concurrent joins through one gateway."""
        limits = JoinLimits(per_user=2)
        works = (join(three, f"s{n}", room(n % SHARDS), limits, user_id="ada") for n in range(12))
        answers = await asyncio.gather(*works, return_exceptions=True)
        assert sum(not isinstance(answer, BaseException) for answer in answers) == 2
        assert all(
            isinstance(answer, TooManySessionsError)
            for answer in answers
            if isinstance(answer, BaseException)
        )
        assert not three.joins._locks, "nothing is kept of joins that were decided"

    async def test_join_beyond_the_limit_leaves_no_claim(self, three: ShardedStore) -> None:
        """Its id is in no shard, and another user may have it."""
        await join(three, "s1", room(0), ONE, user_id="ada")
        with pytest.raises(TooManySessionsError):
            await join(three, "s2", room(1), ONE, user_id="ada")
        assert await three.joins.index_of("s2").find("s2") is None
        await join(three, "s2", room(2), user_id="bob")


async def test_silent_shard_delays_no_other(
    three: ShardedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sessions are not counted, and a join that waits for it does not delay others."""

    async def never(*_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()

    away = three.joins.shards[2]
    monkeypatch.setattr(away, "count_live", never)
    monkeypatch.setattr(away, "accept", never)
    monkeypatch.setattr(away.store, "warm_slots", never)
    monkeypatch.setattr(away.store, "check_writable", never)
    await three.check_writable()  # as other rooms can be served
    await three.register(Registration("r1", "http://r1", capacity=6))
    assert await three.warm_slots() == 4
    waits = asyncio.create_task(join(three, "s1", room(2), ONE, user_id="ada"))
    await asyncio.sleep(0)
    assert not (await join(three, "s2", room(0), ONE, user_id="ada")).reused
    waits.cancel()


@pytest.mark.parametrize("gone", ["ended", "no record"])
async def test_stale_members_do_not_refuse_a_session(store: RedisStore, gone: str) -> None:
    """A session that is not live refuses nobody, whoever has ended it and how."""
    bound = JoinLimits(per_user=2)
    for number in range(2):
        await join(store, f"s{number}", room(0), bound, user_id="ada")
    with pytest.raises(TooManySessionsError):
        await join(store, "s2", room(0), bound, user_id="ada")
    key = store.keys.session("s0")
    if gone == "ended":  # as a release does that knows nothing of these sets
        await store.connection.client.hset(key, "state", "ended")
    else:
        await store.connection.client.delete(key)
    assert not (await join(store, "s2", room(0), bound, user_id="ada")).reused
    with pytest.raises(TooManySessionsError):
        await join(store, "s3", room(0), bound, user_id="ada")


async def test_warm_slots_are_those_of_live_runners(store: RedisStore) -> None:
    """All slots of live runners are counted, used or free."""
    assert await store.warm_slots() == 0
    await store.register(Registration("r1", "http://r1", capacity=4))
    await store.register(Registration("dead", "http://dead", capacity=4))
    await store.connection.client.zadd(store.keys.runners, {"dead": 1})
    await join(store, "s1", "webrtc:1")
    assert await store.warm_slots() == 4
    await store.placement.assign("s1", 1)
    assert await store.warm_slots() == 4
