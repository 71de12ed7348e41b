"""The limits on open event streams."""

import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest

from cordboard.contract.launch import Launch
from cordboard.store import RedisStore
from parts_support import make
from tests_support import served, until


@pytest.fixture
async def gateway(store: RedisStore) -> AsyncIterator[aiohttp.ClientSession]:
    """A gateway with at most three streams, two per session, and the sessions a and b."""
    for name in "ab":
        launch = Launch(session_id=name, room_url=f"webrtc:{name}", epoch=1)
        await store.accept(launch, queue_max=9)
    app = make("gateway", store, streams_per_gateway=3, streams_per_session=2)
    async with served(app) as url, aiohttp.ClientSession(url) as client:
        yield client


async def test_event_streams_over_a_limit_are_429(gateway: aiohttp.ClientSession) -> None:
    """The limits are by session and by gateway; a stream that ends makes room for another."""

    async def status(name: str) -> int:
        async with gateway.get(f"/sessions/{name}/events") as answer:
            return answer.status

    async with contextlib.AsyncExitStack() as stack:
        first = await gateway.get("/sessions/a/events")
        await stack.enter_async_context(gateway.get("/sessions/a/events"))
        async with gateway.get("/sessions/a/events") as answer:
            assert answer.status == 429
            assert int(answer.headers["Retry-After"]) >= 1
        await stack.enter_async_context(gateway.get("/sessions/b/events"))
        assert await status("b") == 429
        first.close()

        async def is_open() -> bool:
            return await status("b") == 200

        await until(is_open)


async def test_closed_streams_do_not_count(gateway: aiohttp.ClientSession) -> None:
    """Streams that the client closed free their places."""
    for _ in range(12):
        answer = await gateway.get("/sessions/a/events")
        answer.close()

    async def is_open() -> bool:
        async with gateway.get("/sessions/a/events") as answer:
            return answer.status == 200

    await until(is_open)
