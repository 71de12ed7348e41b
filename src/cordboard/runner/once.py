"""Serving a cold runner: HTTP for the gateway's offers, as long as the one session lasts."""

import asyncio
import signal
import socket
from typing import Any, Final

from starlette.types import ASGIApp

from cordboard.context import Context
from cordboard.runner.app import Runner
from cordboard.runner.cold import run_once
from cordboard.web import serve
from cordboard.web.tls import Certificate

GIVE_UP_S: Final = 1.0


def serve_once(
    app: ASGIApp,
    runner: Runner,
    context: Context,
    listener: socket.socket,
    certificate: Certificate | None = None,
) -> int:
    """Serve until the session has ended; return its exit status."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _ignore)
    server = serve.DrainingServer(
        serve.uvicorn_config(app, grace_s=2, certificate=certificate), runner.drain
    )
    return asyncio.run(_serve(server, runner, context, listener))


async def _serve(
    server: serve.DrainingServer, runner: Runner, context: Context, listener: socket.socket
) -> int:
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    # uvicorn says that it has started by an attribute alone.
    while not server.started and not serving.done():  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    running = asyncio.create_task(run_once(runner, context), name="once")
    await asyncio.wait({running, serving}, return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    await serving
    # A signal has stopped it: what run_once still waits for (Redis, most likely) is given up.
    await asyncio.wait({running}, timeout=GIVE_UP_S)
    if not running.done():
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return 1
    return await running


def _ignore(_number: int, _frame: Any) -> None:
    """Take the signal that uvicorn hands on once it has stopped."""
