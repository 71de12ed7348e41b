"""A cold runner: started for one session, with the session in its environment."""

import asyncio
import contextlib
import signal
import socket
from typing import Any, Final

from starlette.types import ASGIApp

from cordboard.context import Context, bound_context
from cordboard.contract.errors import (
    ConflictError,
    CordboardError,
    NotFoundError,
    StoreUnavailableError,
    UsageError,
)
from cordboard.contract.launch import Launch
from cordboard.emit import get_logger
from cordboard.runner.app import Runner
from cordboard.store import Outage
from cordboard.web import serve
from cordboard.web.tls import Certificate

GIVE_UP_S: Final = 1.0
RETRY_S: Final = 0.5
FINISH_WAIT_S: Final = (
    900.0  # a full disk takes longer to notice than a failover; then the runner exits
)

log = get_logger("runner")


def check_context(context: Context) -> None:
    """Refuse an environment that names no session.

    Raises:
        UsageError: A variable is missing; says which.
    """
    missing = [
        name
        for name, value in (
            ("BOT_SESSION_ID", context.session_id),
            ("BOT_SESSION_EPOCH", context.epoch),
            ("BOT_ROOM_URL", context.room),
        )
        if not value
    ]
    if missing:
        raise UsageError(
            f"--once: {', '.join(missing)} not set.",
            hint="A cold runner gets its session in its environment; an operator sets it.",
        )


async def run_once(runner: Runner, context: Context) -> int:
    """Run the one session; return 0 for a clean end, else 1."""
    with bound_context(context):
        try:
            launch = await _launch(runner, context)
            log.info("Start received", event="start.received", bot=launch.bot, cold=True)
            if launch.bot not in runner.registry.host.fork_server.bots:
                return await _has_no_such_bot(runner, launch)
            session = await runner.registry.start(launch)
        except (ConflictError, NotFoundError) as error:
            log.warning("The session is not to be run any more", error=error)
            return 0
        except CordboardError as error:
            log.error("The session could not be started", error=error)
            return 1
        await session.gone.wait()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(session.finished.wait(), FINISH_WAIT_S)
        return 1 if session.lost or session.reason in {"bot_crashed", "lease_lost"} else 0


async def _has_no_such_bot(runner: Runner, launch: Launch) -> int:
    """End the session: another cold start of this kind would have no other bots."""
    bots = ", ".join(runner.registry.host.fork_server.bots)
    detail = f"There is no bot {launch.bot!r}; there are: {bots}."
    log.error("The bot that was asked for is not here", bot=launch.bot, bots=bots)
    ended = await runner.store.finish(launch.session_id, launch.epoch, "launch_failed", detail)
    if ended:
        log.error(
            "Session ended",
            event="session.ended",
            state="failed",
            reason="launch_failed",
            detail=detail,
        )
    return 1


async def _launch(runner: Runner, context: Context) -> Launch:
    """Fetch the launch record; while Redis is away, try until the deadline ends the session."""
    assert context.session_id is not None  # noqa: S101 - checked before
    assert context.epoch is not None  # noqa: S101 - checked before
    outage = Outage(log, "Redis is away; trying again until the deadline")
    while True:
        try:
            launch = await runner.store.launch_record(context.session_id, context.epoch)
        except StoreUnavailableError as error:
            outage.record_failure(error)
            await asyncio.sleep(RETRY_S)
        else:
            outage.record_success()
            return launch


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
