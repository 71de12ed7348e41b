"""How many streams of events one gateway has open."""

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
    """A gateway of three streams, two of a session; with the sessions a and b."""
    for name in "ab":
        launch = Launch(session_id=name, room_url=f"webrtc:{name}", epoch=1)
        await store.accept(launch, queue_max=9)
    app = make("gateway", store, streams_per_gateway=3, streams_per_session=2)
    async with served(app) as url, aiohttp.ClientSession(url) as client:
        yield client


async def test_streams_are_bounded(gateway: aiohttp.ClientSession) -> None:
    """By session and by gateway: 429 with Retry-After; a stream that ends makes room for another."""

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


async def test_ended_streams_are_forgotten(gateway: aiohttp.ClientSession) -> None:
    """Streams that were cut off leave no trace, however many there were."""
    for _ in range(12):
        answer = await gateway.get("/sessions/a/events")
        answer.close()

    async def is_open() -> bool:
        async with gateway.get("/sessions/a/events") as answer:
            return answer.status == 200

    await until(is_open)
