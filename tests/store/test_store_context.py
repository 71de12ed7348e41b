"""What was said in a session: only its holder keeps it, for the next holder, and no end leaves it."""

from collections.abc import Awaitable, Callable

import pytest

from cordboard.contract.launch import Launch
from cordboard.store import Holder, RecoveringHolder, RedisStore, Registration, open_store
from plane_support import own_database

SID, ROOM, TEXT = "call-7", "webrtc:standup", "gAAAAAB-encrypted"
HOLDER = Holder("r1", "http://r1", "warm", pid=42)
LAUNCH = Launch(SID, ROOM, epoch=1, deadline_s=1, max_duration_s=100)


async def run(store: RedisStore) -> None:
    """Run the session, and keep what was said."""
    await store.register(Registration("r1", "http://r1", capacity=4))
    await store.accept(LAUNCH, queue_max=9)
    await store.placement.assign(SID, 1)
    await store.confirm_running(SID, 1, HOLDER)
    assert await store.keep_context(SID, 1, "r1", TEXT)


async def queue_again(store: RedisStore) -> None:
    outcome = await store.hand_over(SID, 1, "bot_died", RecoveringHolder("r1"))
    assert outcome.outcome == "queued"


async def test_context_is_kept_for_the_next_holder(store: RedisStore) -> None:
    """It outlives the hand-over; a next run that dies before a turn ends leaves it as it is."""
    await run(store)
    await queue_again(store)
    assert await store.kept_context(SID) == TEXT
    ttl_s = await store.connection.client.ttl(store.keys.kept_context(SID))
    assert 90 < ttl_s <= LAUNCH.max_duration_s + LAUNCH.deadline_s


async def test_only_the_holder_of_the_epoch_keeps_a_context(store: RedisStore) -> None:
    """Not the holder before, not another runner, nobody while the session waits, nobody after its end."""
    await run(store)
    assert not await store.keep_context(SID, 1, "r2", "other runner")
    assert not await store.keep_context(SID, 2, "r1", "later epoch")
    await queue_again(store)
    assert not await store.keep_context(SID, 1, "r1", "late")
    epoch = (await store.session(SID)).epoch
    assert not await store.keep_context(SID, epoch, "r1", "too early")
    await store.placement.assign(SID, epoch)
    await store.confirm_running(SID, epoch, HOLDER)
    assert not await store.keep_context(SID, 1, "r1", "late")
    assert await store.kept_context(SID) == TEXT
    assert await store.keep_context(SID, epoch, "r1", "newer")
    await store.finish(SID, epoch, "left")
    assert not await store.keep_context(SID, epoch, "r1", "late")
    assert await store.kept_context(SID) is None


async def finishes(store: RedisStore) -> None:
    await store.finish(SID, 1, "bot_finished")


async def leaves_between(store: RedisStore) -> None:
    await queue_again(store)
    assert (await store.leave(session_id=SID)).outcome == "ended"


async def expires(store: RedisStore) -> None:
    await queue_again(store)
    await store.connection.client.hset(store.keys.session(SID), "deadline_ms", 1)
    await store.connection.client.zadd(store.keys.deadlines, {SID: 1})
    assert await store.placement.expire_overdue()


async def dies_once_too_often(store: RedisStore) -> None:
    await store.connection.client.hset(store.keys.session(SID), "attempt", 3)
    outcome = await store.hand_over(SID, 1, "bot_died", RecoveringHolder("r1"))
    assert outcome.outcome == "failed"


async def leaves_and_dies(store: RedisStore) -> None:
    await store.leave(session_id=SID)
    assert (await store.hand_over(SID, 1, "bot_died", RecoveringHolder("r1"))).outcome == "failed"


@pytest.mark.parametrize(
    "end", [finishes, leaves_between, expires, dies_once_too_often, leaves_and_dies]
)
async def test_no_end_leaves_a_context(
    store: RedisStore, end: Callable[[RedisStore], Awaitable[None]]
) -> None:
    await run(store)
    await end(store)
    assert not (await store.session(SID)).live
    assert await store.kept_context(SID) is None


async def test_context_is_in_the_shard_of_the_room(redis_url: str) -> None:
    """Found with the room, and by the session id alone."""
    async with open_store(own_database(redis_url), shards=3) as store:
        await store.register(Registration("r1", "http://r1", capacity=9))
        await store.accept(LAUNCH, queue_max=9)
        shard = await store._store_of(SID)  # type: ignore[attr-defined]
        await shard.register(Registration("r1", "http://r1", capacity=9))
        await shard.placement.assign(SID, 1)
        await store.confirm_running(SID, 1, HOLDER, room=ROOM)
        assert await store.keep_context(SID, 1, "r1", TEXT, room=ROOM)
        assert await shard.kept_context(SID) == TEXT
        assert await store.kept_context(SID) == await store.kept_context(SID, room=ROOM) == TEXT
        await store.finish(SID, 1, "left", room=ROOM)
        assert await store.kept_context(SID) is None
