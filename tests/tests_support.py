"""Helpers of several test packages: serving an application, a stand-in for a runner, waiting."""

import asyncio
import inspect
import json
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse

from cordboard.web import serve
from cordboard.web.http_protocol import BoundedProtocol, ConnectionLimits
from cordboard.web.tls import Certificate


def output_of(
    command: Sequence[str],
    given: str = "",
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a command that must succeed, with `given` as its standard input; return its standard output."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=env,
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class _EmbeddedServer(uvicorn.Server):
    """A server inside a test, which leaves the signals to pytest."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers."""
        yield


@asynccontextmanager
async def served(
    app: Any,
    limits: ConnectionLimits | None = None,
    protocol: type[BoundedProtocol] = BoundedProtocol,
    certificate: Certificate | None = None,
    *,
    websockets: bool = False,
) -> AsyncIterator[str]:
    """Serve an ASGI application on a free port of loopback, by the server that we ship with."""
    listener = serve.bind("127.0.0.1", 0)
    config = serve.uvicorn_config(
        app,
        grace_s=1,
        limits=limits,
        protocol=protocol,
        certificate=certificate,
        websockets=websockets,
    )
    server = _EmbeddedServer(config)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        if running.done():
            running.result()
        await asyncio.sleep(0.005)
    scheme = "https" if certificate else "http"
    yield f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    await running


@asynccontextmanager
async def silent_server() -> AsyncIterator[str]:
    """Accept connections and answer none; yield the URL."""
    # Held, because Python 3.13 closes the connection of a writer that nobody holds.
    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(
        lambda _reader, writer: writers.append(writer), "127.0.0.1", 0
    )
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for writer in writers:
            writer.close()  # the server's end waits for them


@asynccontextmanager
async def served_with_websockets(app: Any) -> AsyncIterator[str]:
    """Serve an ASGI application that has WebSockets on a free port of loopback, as others serve theirs."""
    config = uvicorn.Config(app, ws="websockets-sansio", lifespan="off", log_config=None)
    server = _EmbeddedServer(config)
    with serve.bind("127.0.0.1", 0) as listener:
        running = asyncio.create_task(server.serve(sockets=[listener]))
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        await running


@dataclass
class StandIn:
    """A runner as the gateway and the operator see it: gives fixed answers and records the requests."""

    url: str = ""
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    asked: list[tuple[str, str, Any, dict[str, str]]] = field(default_factory=list)

    async def answer(self, request: Request) -> JSONResponse:
        body = await request.body()
        self.asked.append(
            (request.method, request.url.path, json.loads(body or b"null"), dict(request.headers))
        )
        for path, (status, answer) in self.answers.items():
            if request.url.path.endswith(path):
                return JSONResponse(answer, status)
        return JSONResponse({"code": "not_found"}, 404)


async def until(
    condition: Callable[[], Any],
    timeout_s: float = 15,
    tell: Callable[[], Any] = lambda: "the condition did not become true in time",
) -> Any:
    """Wait until a plain or asynchronous condition returns a true value, and return that value.

    `tell` returns what a failure is to show.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        found = condition()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, tell()
        await asyncio.sleep(0.01)
