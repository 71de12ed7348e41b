"""A cold runner: it is started for one session, which its environment names, and ends with it."""

import asyncio
import contextlib
import signal
import socket
from dataclasses import dataclass
from types import FrameType
from typing import Final

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
from cordboard.runner.services import RunnerServices
from cordboard.store import Outage
from cordboard.web import serve
from cordboard.web.http_protocol import BoundedProtocol
from cordboard.web.tls import Certificate

# Between two attempts to read the launch: a cold start takes seconds, so half a second is not felt.
RETRY_S: Final = 0.5

# How long the exit waits for the session's end to be written. A failover takes seconds, but people
# notice a full disk only after minutes. Then the runner exits, and an operator takes the session for
# lost.
FINISH_WAIT_S: Final = 900.0

# How long the session's task may take after a signal has stopped the server.
GIVE_UP_S: Final = 1.0

# A cold start must not wait for the server, which starts within milliseconds.
START_POLL_S: Final = 0.005

# How long open requests may take after the session has ended, for example a ``leave`` that waits for it.
HTTP_GRACE_S: Final = 2

# The reasons for which a cold runner exits with 1, so that a Kubernetes Job counts as failed.
FAILED_REASONS: Final = frozenset({"bot_crashed", "lease_lost"})

log = get_logger("runner")


@dataclass(frozen=True, slots=True)
class SessionGrant:
    """The session of a cold runner, as its environment names it.

    Attributes:
        context: The context of the session's log lines.
        session_id: The session.
        epoch: The epoch of its grant.
    """

    context: Context
    session_id: str
    epoch: int


def session_grant(context: Context) -> SessionGrant:
    """Return the session that `context`, read from the environment, names.

    Raises:
        UsageError: A variable is missing.
    """
    if context.session_id and context.epoch and context.room:
        return SessionGrant(context, context.session_id, context.epoch)
    variables = {
        "BOT_SESSION_ID": context.session_id,
        "BOT_SESSION_EPOCH": context.epoch,
        "BOT_ROOM_URL": context.room,
    }
    missing = ", ".join(name for name, value in variables.items() if not value)
    raise UsageError(
        f"--once: {missing} not set.",
        hint="The environment of a cold runner names its session; an operator sets it.",
    )


def serve_single_session(
    app: ASGIApp,
    session: "SingleSession",
    listener: socket.socket,
    certificate: Certificate | None = None,
    protocol: type[BoundedProtocol] = BoundedProtocol,
) -> int:
    """Serve HTTP, for the offers of a gateway, until the session has ended.

    Args:
        app: The runner's application.
        session: The session.
        listener: The listening socket.
        certificate: The certificate for https; None for http.
        protocol: The class of the connections.

    Returns:
        The exit status.
    """
    # uvicorn raises a handled signal again after it has stopped.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _ignore)
    config = serve.uvicorn_config(
        app, grace_s=HTTP_GRACE_S, certificate=certificate, protocol=protocol
    )
    server = serve.DrainingServer(config, session.services.drain.run)
    return asyncio.run(_serve(server, session, listener))


async def _serve(
    server: serve.DrainingServer, session: "SingleSession", listener: socket.socket
) -> int:
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    # uvicorn shows that it has started by an attribute only.
    while not server.started and not serving.done():
        await asyncio.wait({serving}, timeout=START_POLL_S)
    running = asyncio.create_task(session.run(), name="session")
    await asyncio.wait({running, serving}, return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    await serving
    # After a signal, the session may still wait for a Redis that does not answer.
    await asyncio.wait({running}, timeout=GIVE_UP_S)
    if not running.done():
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return 1
    return await running


@dataclass(frozen=True, slots=True)
class SingleSession:
    """The session of a cold runner.

    Attributes:
        services: The parts of the runner.
        grant: The session.
    """

    services: RunnerServices
    grant: SessionGrant

    async def run(self) -> int:
        """Run the session; return the exit status, 0 for a clean end and 1 otherwise."""
        with bound_context(self.grant.context):
            try:
                launch = await self._read_launch()
                log.info("Start received", event="start.received", bot=launch.bot, cold=True)
                if launch.bot not in self.services.registry.host.fork_server.bots:
                    await self._end_without_bot(launch)
                    return 1
                session = await self.services.registry.start(launch)
            except (ConflictError, NotFoundError) as error:
                # It has ended, or another runner has it: nothing is wrong with this one.
                log.warning("The session must not run any more", error=error)
                return 0
            except CordboardError as error:
                log.error("The session cannot be started", error=error)
                return 1
            await session.gone.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FINISH_WAIT_S):
                    await session.finished.wait()
            is_failed = session.hand_over == "bot_died" or session.reason in FAILED_REASONS
            return 1 if is_failed else 0

    async def _read_launch(self) -> Launch:
        """Read the launch from the store; while Redis is unavailable, retry until the session's deadline."""
        outage = Outage(log, "Redis is unavailable; retrying until the deadline")
        store, grant = self.services.store, self.grant
        while True:
            try:
                launch = await store.launch_record(grant.session_id, grant.epoch)
            except StoreUnavailableError as error:
                outage.record_failure(error)
                await asyncio.sleep(RETRY_S)
            else:
                outage.record_success()
                return launch

    async def _end_without_bot(self, launch: Launch) -> None:
        """End a session whose bot is unknown: another cold runner would not have the bot either."""
        bots = ", ".join(self.services.registry.host.fork_server.bots)
        detail = f"This runner has no bot {launch.bot!r}; its bots are: {bots}."
        log.error("This runner has no such bot", bot=launch.bot, bots=bots)
        is_ours = await self.services.store.finish(
            launch.session_id, launch.epoch, "launch_failed", detail
        )
        if is_ours:
            log.error(
                "Session ended",
                event="session.ended",
                state="failed",
                reason="launch_failed",
                detail=detail,
            )


def _ignore(_number: int, _frame: FrameType | None) -> None:
    pass
