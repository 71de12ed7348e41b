"""The run of one bot inside its process, from ``go`` to the last message to the supervisor."""

import asyncio
import socket
import time
from collections.abc import Coroutine
from typing import Any, Final

from cordboard.contract.ids import is_webrtc_room
from cordboard.contract.redaction import redact_keys
from cordboard.emit import get_logger
from cordboard.ice_client import UsableServers, bound_gathering, usable_servers
from cordboard.runner import pipes
from cordboard.runner.bot_arguments import runner_arguments
from cordboard.runner.loaded_bots import bot_named
from cordboard.runner.memory_limit import describe_memory_limit
from cordboard.runner.pipes import BotStart
from cordboard.runner.process_exit import exit_now
from cordboard.runner.signalling import BotSignalling
from cordboard.runner.user_absence import wait_until_absent

# The length of an exception's text in the session record; the log line has the whole of it.
ERROR_CHARS: Final = 400

log = get_logger("bot")


class BotExitError(Exception):
    """The bot called ``sys.exit``.

    Outside of a task, ``SystemExit`` would end the event loop before the end is reported.

    Attributes:
        error: The exception that ``sys.exit`` raised.
    """

    def __init__(self, error: SystemExit) -> None:
        super().__init__(error)
        self.error = error


class BotRun:
    """One call of ``bot()``, and the bot process's side of the control channel.

    Args:
        start: The session and its options.
        control: The control channel to the supervisor.
    """

    def __init__(self, start: BotStart, control: socket.socket) -> None:
        self._start = start
        self._control = control
        self._go = asyncio.Event()
        self._bot: asyncio.Task[str] | None = None
        self._stop_reason: str | None = None
        self._background: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Run the bot; return the exit status."""
        self._control.setblocking(False)
        reader, writer = await asyncio.open_connection(
            sock=self._control, limit=pipes.LINE_MAX_BYTES
        )
        connection: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        signalling = BotSignalling(
            connection, local=self._start.options.local, servers=self._find_servers()
        )
        for work in (self._listen(reader, writer, signalling), _report_lag(writer)):
            self._spawn(work)
        await self._go.wait()
        reason, detail = await self._bot_end(connection, writer)
        await pipes.send(writer, {"ended": reason, "detail": detail})
        for task in self._background:
            task.cancel()
        return 1 if reason == "bot_crashed" else 0

    def _find_servers(self) -> "asyncio.Task[UsableServers] | None":
        """Begin to find the STUN and TURN servers that answer, while the bot starts; None without any."""
        if not self._start.ice_config:
            return None
        bound_gathering()
        return asyncio.create_task(_usable_servers(self._start.ice_config))

    async def _bot_end(
        self, connection: asyncio.Future[Any], writer: asyncio.StreamWriter
    ) -> tuple[str, str | None]:
        """Run the bot; return the reason and the detail of its end."""
        self._bot = asyncio.create_task(self._run_bot(connection, writer), name="bot")
        if self._stop_reason is not None:  # stopped before `go`
            self._bot.cancel()
        try:
            return await self._bot, None
        except asyncio.CancelledError as error:
            if self._stop_reason is None:  # the bot cancelled itself
                return self._record_crash(error)
        except BotExitError as exited:
            if self._stop_reason is None and exited.error.code not in {None, 0}:
                return self._record_crash(exited.error)
        except BaseException as error:
            return self._record_crash(error)
        return self._record_finish(), None

    async def _run_bot(self, connection: asyncio.Future[Any], writer: asyncio.StreamWriter) -> str:
        """Call ``bot()`` once there is a user, if the room needs one; return the reason of its end."""
        bot = bot_named(self._start.launch.bot)
        await pipes.send(writer, {"loaded": True})
        options, launch = self._start.options, self._start.launch
        peer_connection = None
        if is_webrtc_room(launch.room_url):
            try:
                async with asyncio.timeout(options.offer_timeout_s):
                    # Shielded: the timeout must not cancel the future that the signalling sets.
                    peer_connection = await asyncio.shield(connection)
            except TimeoutError:
                log.warning("No user connected in time", seconds=options.offer_timeout_s)
                return "user_absent"
            if options.user_absent_s:
                self._spawn(_report_absence(peer_connection, options.user_absent_s, writer))
        try:
            await bot(runner_arguments(launch, peer_connection, options.daily_domains))
        except SystemExit as error:
            raise BotExitError(error) from error
        return self._record_finish()

    def _record_finish(self) -> str:
        log.info("Bot finished", event="bot.finished", stopped=self._stop_reason)
        return self._stop_reason or "bot_finished"

    def _record_crash(self, error: BaseException) -> tuple[str, str]:
        log.error("Bot crashed", event="bot.crashed", error=error)
        detail = redact_keys(f"{type(error).__name__}: {error}")[:ERROR_CHARS]
        if isinstance(error, MemoryError) or isinstance(error.__cause__, MemoryError):
            detail += f" ({describe_memory_limit(self._start.options.memory_mb)})"
        return "bot_crashed", detail

    async def _listen(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        signalling: BotSignalling,
    ) -> None:
        """Handle messages of the supervisor; exit when it has closed the channel."""
        while (message := await pipes.receive(reader)) is not None:
            if "go" in message:
                self._go.set()
            elif "stop" in message:
                self._stop_reason = message["stop"]
                self._go.set()
                if self._bot is not None:
                    self._bot.cancel()
            elif "ask" in message:
                # A task for each: an offer takes seconds, and `stop` must not wait for it.
                self._spawn(_answer(signalling, message, writer))
        exit_now(1)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


async def _usable_servers(ice_config: dict[str, Any]) -> UsableServers:
    servers = await usable_servers(ice_config)
    for fault in servers.faults:
        log.warning("A server of ice_servers cannot be used", fault=fault.message, hint=fault.hint)
    return servers


async def _answer(
    signalling: BotSignalling, message: dict[str, Any], writer: asyncio.StreamWriter
) -> None:
    status, body = await signalling.handle(message["method"], message["body"])
    await pipes.send(writer, {"answer": message["ask"], "status": status, "body": body})


async def _report_absence(connection: Any, seconds: float, writer: asyncio.StreamWriter) -> None:
    """Report that no user has been connected for a while; the supervisor then stops the bot."""
    await wait_until_absent(connection, seconds)
    log.info("No user has been connected for a while; ending the session", seconds=seconds)
    await pipes.send(writer, {"absent": True})


async def _report_lag(writer: asyncio.StreamWriter) -> None:
    """Report how late this event loop is. Only the bot process itself can measure that."""
    while True:
        began_at = time.monotonic()
        await asyncio.sleep(pipes.LAG_PERIOD_S)
        lag_s = time.monotonic() - began_at - pipes.LAG_PERIOD_S
        await pipes.send(writer, {"lag_ms": round(max(lag_s, 0.0) * 1000, 1)})
