"""A rollout of operators: what one has assigned, it hands over before it ends."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from cordboard.contract.launch import Launch
from cordboard.operator.loop import Loop
from cordboard.operator.placement import Placer
from cordboard.operator.recovery import Sweeper
from cordboard.operator.runner_client import SessionRunners
from cordboard.store import Assignment, Placement, RedisStore, Registration
from cordboard.web.http_client import HttpClient
from cordboard.web.runner_client import RunnerClient
from plane_support import Processes, own_database, ready
from tests_support import StandIn, served, until

pytestmark = pytest.mark.timeout(90)


@asynccontextmanager
async def slow_runner(answers: asyncio.Event, asked: list[str]) -> AsyncIterator[str]:
    """A runner that answers to /start when it is told to."""

    async def start(request: Request) -> JSONResponse:
        asked.append(json.loads(await request.body())["sessionId"])
        await answers.wait()
        return JSONResponse({"status": "running"})

    async with served(Starlette(routes=[Route("/start", start, methods=["POST"])])) as url:
        yield url


async def test_drain_finishes_the_hand_over(tmp_path: Path, redis_url: str) -> None:
    """SIGTERM between the assignment and the answer to /start: it waits for that answer."""
    processes = Processes(tmp_path, own_database(redis_url))
    answers, asked = asyncio.Event(), list[str]()
    try:
        async with RedisStore(processes.redis_url) as store, slow_runner(answers, asked) as url:
            await store.connection.client.flushdb()
            await store.register(Registration("r1", url, capacity=1))
            for sid in ("a", "b"):  # before it starts, so that its first read returns both
                await store.accept(Launch(sid, f"webrtc:{sid}", epoch=1), queue_max=9)
            operator = processes.spawn("operator", "--launcher", "none")
            await ready(operator)
            await until(lambda: asked)
            stopping = asyncio.create_task(asyncio.to_thread(operator.stop))
            for _ in range(3):  # a kubelet sends it more than once
                await asyncio.sleep(0.3)
                operator.signal(signal.SIGTERM)
            assert operator.alive
            answers.set()
            assert await stopping == 0
            first, second = asked[0], ({"a", "b"} - set(asked)).pop()
            assert "launch.assigned" in operator.events(first)
            assert (await store.session(first)).epoch == 1
            # What it had no runner for is whole, in the queue, and free to be taken at once.
            entries = await store.queue.claim_abandoned("next", idle_ms=5000, count=9)
            assert [entry.launch.session_id for entry in entries if entry.launch] == [second]
    finally:
        processes.stop()


async def test_session_assigned_during_drain_is_started(
    store: RedisStore, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drain that begins while the store assigns: the runner is asked all the same."""
    stand_in.answers["/start"] = (200, {"status": "running"})
    await store.register(Registration("r1", stand_in.url, capacity=1))
    await store.accept(Launch("a", "webrtc:a", epoch=1), queue_max=9)
    assigned, assign = asyncio.Event(), Placement.assign

    async def slow(self: Placement, *args: object, **more: object) -> Assignment:
        given = await assign(self, *args, **more)  # type: ignore[arg-type]
        assigned.set()
        await asyncio.sleep(0.3)
        return given

    monkeypatch.setattr(Placement, "assign", slow)
    async with aiohttp.ClientSession() as client:
        runners = SessionRunners(RunnerClient(HttpClient(client), lambda: ("s",)))
        loop = Loop("op", store, Placer(store, runners, None), Sweeper(store, runners, None))
        running = asyncio.create_task(loop.run())
        await assigned.wait()
        await loop.drain()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert [path for _, path, _, _ in stand_in.asked] == ["/start"]
    assert await store.queue.depth() == 0
