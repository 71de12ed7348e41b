"""What Redis keeps of an ended session, and how long."""

import hashlib
from typing import Any

import pytest

from cordboard.contract.errors import NotFoundError, SettingsError
from cordboard.contract.launch import Launch
from cordboard.store import (
    JoinLimits,
    QueueEntry,
    RedisStore,
    Registration,
    SessionFilter,
    SessionStore,
    open_store,
)
from cordboard.store.keys import UNTIDY_S, Keys
from cordboard.store.shared_settings import SettingsMismatchError, SharedSettings

SID, ROOM, USER = "call-of-mine", "webrtc:room-of-mine", "user-of-mine"
LONGEST_S = 60 + 3 * 14_400  # its deadline, and its longest run three times


async def dump(store: RedisStore) -> dict[str, str]:
    """Return all keys of a store with their values."""
    found = {}
    async for key in store.connection.client.scan_iter(f"*{{{store.keys.tag}}}*", count=1000):
        kind = await store.connection.client.type(key)
        read: Any = {
            "string": ("GET", key),
            "hash": ("HGETALL", key),
            "set": ("SMEMBERS", key),
            "zset": ("ZRANGE", key, 0, -1),
            "stream": ("XRANGE", key, "-", "+"),
        }[kind]
        found[key] = str(await store.connection.client.execute_command(*read))
    return found


def naming(found: dict[str, str]) -> list[str]:
    """Return the keys that name the session, its room or its user, in the key or the value."""
    names = (SID, ROOM, USER)
    return [key for key, held in found.items() if any(name in key + held for name in names)]


async def lived(store: SessionStore) -> None:
    """Run a session to its end, and dead-letter an entry."""
    launch = Launch(SID, ROOM, epoch=1, user_id=USER)
    limits = JoinLimits(per_user=2, per_address=2, address="a1")
    accepted = await store.accept(launch, queue_max=9, limits=limits)
    for shard in store.shards:
        await shard.register(Registration("r1", "http://r1", capacity=4))
        await shard.placement.assign(SID, accepted.epoch)
        await shard.queue.dead_letter(QueueEntry("1-1", None, "problem", {"session_id": SID}))
    await store.finish(SID, accepted.epoch, "left", room=ROOM)


@pytest.mark.parametrize("shards", [1, 3])
async def test_nothing_names_a_session_longer_than_its_record(redis_url: str, shards: int) -> None:
    """When the record is removed, so is all that names session, room or user; epochs and claims name none."""
    url = f"{redis_url[:-1]}5"
    async with open_store(url, shards=shards, record_kept_s=0.0) as store:
        await store.shards[0].connection.client.flushdb()
        await lived(store)
        kept = await dump_all(store)
        assert naming(kept)
        for shard in store.shards:
            await shard.connection.client.time()  # a millisecond later
            while await shard.placement.remove_old_records():
                pass
        after = await dump_all(store)
        assert naming(after) == []
        epoch = hashlib.sha1(ROOM.encode(), usedforsecurity=False).hexdigest()
        assert [key for key in after if key.endswith(epoch)], "the room's epochs go on rising"
        with pytest.raises(NotFoundError):
            await store.session(SID)


async def dump_all(store: SessionStore) -> dict[str, str]:
    return {key: held for shard in store.shards for key, held in (await dump(shard)).items()}


async def test_recent_record_is_kept_and_listed(store: RedisStore) -> None:
    """A record that is not due stays, and is listed by room and by user."""
    await lived(store)
    assert await store.placement.remove_old_records() == 0
    for wanted in (SessionFilter(room=ROOM), SessionFilter(user_id=USER), SessionFilter()):
        page, _ = await store.sessions(wanted)
        assert [record.session_id for record in page] == [SID]


async def test_everything_expires_without_an_operator(store: RedisStore) -> None:
    """All that names the session has a time to live, at most that of the longest possible call."""
    await lived(store)
    record_ms = await store.connection.client.pttl(store.keys.session(SID))
    assert 0 < record_ms <= (store.keys.record_kept_s + UNTIDY_S) * 1000
    found = await dump(store)
    for key in naming(found):
        if key == store.keys.dead_letters:  # bounded by its length
            continue
        left_ms = await store.connection.client.pttl(key)
        assert 0 < left_ms <= (LONGEST_S + store.keys.record_kept_s + UNTIDY_S) * 1000, key


async def test_expired_records_leave_the_lists(store: RedisStore) -> None:
    """Records that expired while no operator ran are listed no longer than the longest session lasts."""
    lists = (store.keys.sessions, store.keys.room_sessions(ROOM), store.keys.user_sessions(USER))
    longest_s = 3 * (600 + 7 * 86_400) + store.keys.record_kept_s + UNTIDY_S
    seconds, _ = await store.connection.client.time()
    for key in lists:
        for name, age_s in (("gone", longest_s + 60), ("kept", longest_s - 60)):
            await store.connection.client.zadd(key, {name: (seconds - age_s) * 1000})
    await store.accept(Launch(SID, ROOM, 1, USER), queue_max=9)
    for key in lists:
        assert await store.connection.client.zrange(key, 0, -1) == ["kept", SID]


async def test_long_call_stays_listed(store: RedisStore) -> None:
    """A session that may run for a week is listed for a week, and while its record is kept."""
    week_s = 7 * 86_400
    await store.accept(Launch(SID, ROOM, 1, USER, max_duration_s=week_s), queue_max=9)
    await store.accept(Launch("short", "webrtc:other", 1, USER), queue_max=9)
    for key in (
        store.keys.sessions,
        store.keys.room_sessions(ROOM),
        store.keys.user_sessions(USER),
    ):
        assert await store.connection.client.pttl(key) > (week_s + store.keys.record_kept_s) * 1000


async def test_old_records_are_removed_in_bounded_rounds(store: RedisStore) -> None:
    """A day's records that are due at once are removed in rounds of bounded size."""
    for number in range(25):
        await store.accept(Launch(f"s{number}", f"webrtc:{number}", 1), queue_max=99)
        await store.finish(f"s{number}", 1, "left")
    await store.connection.client.zadd(store.keys.ended, {f"s{n}": n for n in range(25)}, xx=True)
    assert await store.placement.remove_old_records(limit=10, rounds=2) == 20
    assert await store.placement.remove_old_records(limit=10, rounds=2) == 5
    assert await store.placement.remove_old_records(limit=10, rounds=2) == 0


async def test_live_session_with_an_old_id_is_kept(store: RedisStore) -> None:
    """The record of an ended session is removed; the live session with the same id is not."""
    first = await store.accept(Launch(SID, ROOM, 1, USER), queue_max=9)
    await store.finish(SID, first.epoch, "left")
    await store.accept(Launch(SID, ROOM, 1, USER), queue_max=9)
    await store.connection.client.zadd(
        store.keys.ended, {SID: 1}
    )  # as if it had not been taken out
    await store.placement.remove_old_records()
    assert (await store.session(SID)).live


async def test_all_processes_keep_records_for_the_same_time(redis_url: str) -> None:
    """A process with another time is refused while others run."""
    url = f"{redis_url[:-1]}4"
    first = SharedSettings(url, "gateway", shards=1, lease_s=15)
    other = SharedSettings(url, "operator", shards=1, lease_s=15, record_kept_s=3600)
    async with RedisStore(url) as store:
        await store.connection.client.flushdb()
    await first.compare()
    with pytest.raises(
        SettingsMismatchError, match="CORDBOARD_RECORD_KEPT_HOURS is 1 here, but 24"
    ):
        await other.compare()
    await first.leave()
    await other.leave()


def test_python_and_lua_hash_rooms_alike() -> None:
    """The hash of a room in a key is the same in Python and Lua."""
    assert Keys("t").room_epoch("webrtc:demo") == (
        "room_epoch:{t}" + hashlib.sha1(b"webrtc:demo", usedforsecurity=False).hexdigest()
    )
    assert issubclass(SettingsMismatchError, SettingsError)
