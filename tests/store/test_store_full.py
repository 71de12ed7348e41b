"""A Redis without free memory refuses joins and ends no call."""

from collections.abc import AsyncIterator, Iterator

import pytest

from cordboard.contract.errors import StoreUnavailableError
from cordboard.contract.launch import Launch
from cordboard.store import Holder, RedisStore, Registration, Renewal, SessionStore, open_store
from cordboard.store.keys import shard_of
from server_support import Server, name_of, programs, serving

RUNNER = Registration("r1", "http://r1", capacity=9)
HOLDER = Holder("r1", "http://r1", "warm", pid=42)
IDS = ("runs", "starts", "waits", "leaves", "ends", "dies", "late")


@pytest.fixture(scope="module", params=programs(), ids=name_of)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with serving(request.param) as running:
        yield running


@pytest.fixture(params=[1, 3], ids=["one shard", "three shards"])
async def full(request: pytest.FixtureRequest, server: Server) -> AsyncIterator[SessionStore]:
    """A store with sessions in all states, in a server without free memory."""
    server.ask("CONFIG", "SET", "maxmemory", 0)
    server.ask("FLUSHALL")
    async with open_store(server.url, shards=request.param) as store:
        for _ in range(3):
            await store.register(RUNNER)
        for sid in IDS:
            await store.accept(launch(sid), queue_max=99)
        for shard in store.shards:
            await shard.queue.read("op", count=99, block_ms=1)
        for sid in IDS[:2] + IDS[3:]:
            await shard_with(store, sid).placement.assign(sid, 1, job_name=f"job-{sid}")
        for sid in ("runs", "leaves", "ends", "dies"):
            await store.confirm_running(sid, 1, HOLDER, room=room(sid))
        server.ask("CONFIG", "SET", "maxmemory", 1)
        yield store
    server.ask("CONFIG", "SET", "maxmemory", 0)


def room(sid: str) -> str:
    return f"webrtc:{sid}"


def launch(sid: str) -> Launch:
    return Launch(sid, room(sid), epoch=1, user_id="ada")


def shard_with(store: SessionStore, sid: str) -> RedisStore:
    """Return the shard of a session's room."""
    return store.shards[shard_of(room(sid), len(store.shards))]


async def test_full_redis_refuses_joins(full: SessionStore) -> None:
    """A new session gets 503, and nothing of it remains; the readiness check says why."""
    with pytest.raises(StoreUnavailableError, match="maxmemory"):
        await full.accept(launch("new"), queue_max=99)
    with pytest.raises(StoreUnavailableError, match="maxmemory"):
        await full.check_writable()


async def test_full_redis_ends_no_call(full: SessionStore) -> None:
    """Whatever keeps a call alive, starts an accepted session or frees memory succeeds."""
    (held,) = await full.renew([Renewal("runs", 1, HOLDER, 1.0, room("runs"))])
    assert held == "held"
    await full.register(RUNNER)
    await full.confirm_running("starts", 1, HOLDER, room=room("starts"))
    waits = shard_with(full, "waits")
    assert (await waits.placement.assign("waits", 1, job_name="job")).outcome == "assigned"
    assert (await full.leave(session_id="leaves", room=room("leaves"))).outcome == "stopping"
    assert await full.finish("ends", 1, "bot_finished", room=room("ends"))
    late = shard_with(full, "late")
    assert (await late.placement.recover("late", 1, "refused")).outcome == "queued"
    for shard in full.shards:
        await shard.placement.remove_old_records()
        await shard.queue.read("op", count=9, block_ms=1)
        await shard.queue.claim_abandoned("op", idle_ms=0, count=9)


async def test_long_call_continues_in_a_full_redis(full: SessionStore, server: Server) -> None:
    """However long a call lasts, each renewal succeeds, and its end is written."""
    for _ in range(20):
        (verdict,) = await full.renew([Renewal("runs", 1, HOLDER, 1.0, room("runs"))])
        assert verdict == "held"
    assert await full.finish("runs", 1, "bot_finished", room=room("runs"))
    assert (await full.session("runs", room=room("runs"))).state == "ended"
    server.ask("CONFIG", "SET", "maxmemory", 0)
    assert (await full.accept(launch("new"), queue_max=99)).epoch == 1


async def test_full_redis_accepts_a_restored_session(full: SessionStore) -> None:
    """A full Redis that has lost its data accepts live sessions from their holders."""
    known = Launch("told", room("told"), epoch=7)
    assert await full.adopt(known, HOLDER) == "held"
