"""The watch connections of an operator: whom they watch, and when they report."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
import pytest

from cordboard.contract.launch import Launch
from cordboard.operator.runner_watch import RunnerWatches
from cordboard.store import RedisStore, Registration
from cordboard.web.http_client import HttpClient
from cordboard.web.runner_client import RunnerClient
from tests_support import until

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
COMMENT = b"c\r\n: watching\n\n\r\n"


@dataclass
class WatchedRunner:
    """A server that holds its connections open until it closes them."""

    head: bytes = HEAD + COMMENT
    url: str = ""
    open: list[asyncio.StreamWriter] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(self.head)
        self.open.append(writer)
        with contextlib.suppress(
            ConnectionResetError
        ):  # the client has closed it before it had read everything
            await reader.read()
        self.open.remove(writer)
        writer.close()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["WatchedRunner"]:
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield self
        server.close()


@contextlib.asynccontextmanager
async def watching(silent_s: float = 30.0) -> AsyncIterator[tuple[RunnerWatches, Counter[str]]]:
    """Yield watches, and how often each runner was reported."""
    reports: Counter[str] = Counter()

    async def report(runner_id: str) -> None:
        reports[runner_id] += 1

    async with aiohttp.ClientSession() as client:
        runners = RunnerClient(HttpClient(client), lambda: ("s",))
        watches = RunnerWatches(runners, report, silent_s=silent_s)
        yield watches, reports
        await watches.close()


@pytest.fixture
async def runner() -> AsyncIterator[WatchedRunner]:
    async with WatchedRunner().running() as made:
        yield made


async def test_closed_connection_is_reported_and_made_again(runner: WatchedRunner) -> None:
    """One connection for each runner, with its credential, however often it is added."""
    async with watching() as (watches, reports):
        for _ in range(3):
            watches.add("r1", runner.url)
        await until(lambda: runner.open)
        assert not reports
        runner.open[0].transport.abort()
        await until(lambda: reports["r1"] == 1 and runner.open)
        assert len(runner.requests) == 2
        assert runner.requests[0].startswith(b"GET /watch ")
        assert b"Authorization: Bearer " in runner.requests[0]


async def test_closed_port_and_silence_are_reported(runner: WatchedRunner) -> None:
    """Each makes the operator ask; only the answer decides."""
    async with watching(silent_s=0.05) as (watches, reports):
        watches.add("silent", runner.url)
        await until(lambda: reports["silent"])
    async with watching() as (watches, reports):
        watches.add("gone", "http://127.0.0.1:9")
        await until(lambda: reports["gone"])


async def test_runner_of_an_earlier_release_is_left_alone() -> None:
    """It has no such route: the connection is not made again at once, and nothing is reported."""
    async with (
        WatchedRunner(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").running() as old,
        watching() as (watches, reports),
    ):
        watches.add("r1", old.url)
        await until(lambda: old.requests)
        await asyncio.sleep(0.3)
        assert not reports
        assert len(old.requests) == 1


@pytest.mark.parametrize("status", ["401 Unauthorized", "503 Service Unavailable"])
async def test_passing_refusal_is_no_earlier_release(status: str) -> None:
    """A runner with too many connections, or another secret, is asked again soon."""
    head = f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()
    async with WatchedRunner(head).running() as busy, watching() as (watches, reports):
        watches.add("r1", busy.url)
        await until(lambda: len(busy.requests) == 2)
        assert reports["r1"]
        busy.head = HEAD + COMMENT
        await until(lambda: len(busy.requests) == 3 and busy.open)


async def test_refresh_watches_the_busy_runners_only(runner: WatchedRunner) -> None:
    """A runner that was added since the last refresh stays until the next one."""
    async with watching() as (watches, _):
        watches.refresh({"a": runner.url, "b": runner.url})
        watches.add("new", runner.url)
        await until(lambda: len(runner.open) == 3)
        watches.refresh({"a": runner.url})
        assert watches.runner_ids == {"a", "new"}
        watches.refresh({"a": runner.url})
        assert watches.runner_ids == {"a"}
        await until(lambda: len(runner.open) == 1)


async def test_busy_runners_are_those_with_sessions(store: RedisStore) -> None:
    """Whichever operator has assigned them."""
    await store.register(Registration("idle", "http://127.0.0.1:1", 1, bots=("other",)))
    await store.register(Registration("busy", "http://127.0.0.1:2", 1))
    epoch = (await store.accept(Launch("a", "webrtc:a", epoch=1), queue_max=9)).epoch
    await store.placement.assign("a", epoch)
    assert await store.runners.busy() == {"busy": "http://127.0.0.1:2"}
    # One that drains is not listed any more, but the operators that know it watch it until its end.
    await store.register(Registration("busy", "http://127.0.0.1:2", 1, draining=True))
    assert await store.runners.busy(["busy", "gone"]) == {"busy": "http://127.0.0.1:2"}
    await store.unregister("busy")
    assert await store.runners.busy(["busy"]) == {}
