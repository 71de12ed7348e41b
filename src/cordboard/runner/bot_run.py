"""The run of one bot inside its process, from ``go`` to the last message to the supervisor."""

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from cordboard.contract.carrier_streams import form_of_room
from cordboard.contract.ids import room_kind
from cordboard.emit import get_logger
from cordboard.ice_client import UsableServers, bound_gathering, usable_servers
from cordboard.media_watch import MediaWatch
from cordboard.runner import bot_stream, context_keeper, pipes
from cordboard.runner.bot_app import BotApp
from cordboard.runner.bot_arguments import BotConnection, runner_arguments
from cordboard.runner.bot_crash import BotCrash, record_crash
from cordboard.runner.bot_file import Bot
from cordboard.runner.bot_files import BotFiles, make_file_storage
from cordboard.runner.bot_server import BotServer
from cordboard.runner.bot_stream import BotStream
from cordboard.runner.call_log import CallLog
from cordboard.runner.call_streams import CallStreams
from cordboard.runner.context_keeper import ContextKeeper
from cordboard.runner.pipes import BotStart
from cordboard.runner.process_exit import exit_now, exit_with_handlers
from cordboard.runner.signalling import BotSignalling, OfferingPeer
from cordboard.runner.sound_levels import LEVELS
from cordboard.runner.user_absence import wait_until_absent

# The rooms whose people are at the other end of the bot's stream.
_STREAM_KINDS: Final = frozenset({"phone", "ws"})

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


@dataclass(frozen=True, slots=True)
class _People:
    """How people reach the bot.

    Attributes:
        peer: The first peer.
        stream: The bot's stream; None in other rooms than ``phone:`` and ``ws:``.
    """

    peer: asyncio.Future[OfferingPeer]
    stream: BotStream | None


class BotRun:
    """One call of ``bot()``, and the bot process's side of its channels to the supervisor.

    Args:
        start: The session and its options.
        control: The control channel to the supervisor.
        connections: The socket on which the supervisor passes connections.
        bot: The function ``bot`` of the bot file.
    """

    def __init__(
        self, start: BotStart, control: socket.socket, connections: socket.socket, bot: Bot
    ) -> None:
        self._start = start
        self._call_bot = bot
        self._control = control
        self._connections = connections
        self._kind = room_kind(start.launch.room_url)
        self._go = asyncio.Event()
        self._bot: asyncio.Task[str] | None = None
        self._stop_reason: str | None = None
        self._server: BotServer | None = None
        self._background: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Run the bot; return the exit status."""
        self._control.setblocking(False)
        reader, writer = await asyncio.open_connection(
            sock=self._control, limit=pipes.LINE_MAX_BYTES
        )
        people = _People(asyncio.get_running_loop().create_future(), self._make_stream())
        signalling = BotSignalling(
            people.peer, local=self._start.options.local, servers=self._find_servers()
        )
        for work in (self._listen(reader, writer, signalling), _report_lag(writer)):
            self._spawn(work)
        await self._go.wait()
        reason, crash = await self._bot_end(people, writer)
        if context_keeper.KEEPER is not None and self._stop_reason == pipes.DRAINING:
            await context_keeper.KEEPER.take()  # what was said in the turn that the hand-over ends
        await pipes.send(writer, _end_message(reason, crash))
        await self._close_connections(people.stream, reason)
        for task in self._background:
            task.cancel()
        return 1 if reason == "bot_crashed" else 0

    def _make_stream(self) -> BotStream | None:
        if self._kind not in _STREAM_KINDS:
            return None
        is_call = form_of_room(self._start.launch.room_url) is not None
        return BotStream(CallStreams() if is_call else None)

    def _find_servers(self) -> "asyncio.Task[UsableServers] | None":
        """Begin to find the STUN and TURN servers that answer, while the bot starts; None without any."""
        if not self._start.ice_config:
            return None
        bound_gathering()
        return asyncio.create_task(_usable_servers(self._start.ice_config))

    async def _close_connections(self, stream: BotStream | None, reason: str) -> None:
        if self._server is not None:
            self._server.stop()
            if stream is not None:
                await stream.close(_close_code(reason))
            await self._server.wait_until_closed(bot_stream.CLOSE_S)

    async def _bot_end(
        self, people: _People, writer: asyncio.StreamWriter
    ) -> tuple[str, BotCrash | None]:
        """Run the bot; return the reason of its end, and the exception that it raised."""
        self._bot = asyncio.create_task(self._run_bot(people, writer), name="bot")
        if self._stop_reason is not None:  # stopped before `go`
            self._bot.cancel()
        try:
            return await self._bot, None
        except asyncio.CancelledError as error:
            if self._stop_reason is None:  # the bot cancelled itself
                return "bot_crashed", self._record_crash(error)
        except BotExitError as exited:
            if self._stop_reason is None and exited.error.code not in {None, 0}:
                return "bot_crashed", self._record_crash(exited.error)
        except BaseException as error:
            return self._stop_reason or "bot_crashed", self._record_crash(error)
        return self._record_finish(), None

    async def _run_bot(self, people: _People, writer: asyncio.StreamWriter) -> str:
        """Call ``bot()`` once there is a user, if the room needs one; return the reason of its end."""
        launch, options = self._start.launch, self._start.options
        files = BotFiles(make_file_storage())
        self._server = BotServer(
            self._connections, lambda: BotApp(launch.session_id, people.stream, files)
        )
        self._server.start()
        if people.stream is not None:
            self._server.prepare()  # while the line rings
        try:
            connection = await self._wait_for_user(people, writer)
            if connection is None:
                log.warning("No user connected in time", seconds=options.offer_timeout_s)
                return "user_absent"
            arguments = runner_arguments(launch, connection, options.daily_domains, files.storage)
            if context_keeper.KEEPER is not None:
                context_keeper.KEEPER.add_to(arguments.body)
            await self._call_bot(arguments)
        except SystemExit as error:
            raise BotExitError(error) from error
        finally:
            await files.delete_all()
        return self._record_finish()

    async def _wait_for_user(
        self, people: _People, writer: asyncio.StreamWriter
    ) -> BotConnection | None:
        """Return the connection to the first user; None if none connects in time."""
        try:
            async with asyncio.timeout(self._start.options.offer_timeout_s):
                # Shielded: the timeout must not cancel a future that others set.
                if self._kind == "webrtc":
                    peer = await asyncio.shield(people.peer)
                    connection = peer.connection
                    self._spawn(_watch_media(connection))
                    self._watch_absence(
                        lambda: bool(connection.pc.connectionState == "connected"), writer
                    )
                    return BotConnection(peer=connection, request_data=peer.request_data)
                if (stream := people.stream) is not None:
                    websocket = await asyncio.shield(stream.opened)
                    self._watch_absence(lambda: stream.is_connected, writer)
                    return BotConnection(websocket=websocket)
        except TimeoutError:
            return None
        return BotConnection()

    def _watch_absence(
        self, is_connected: Callable[[], bool], writer: asyncio.StreamWriter
    ) -> None:
        seconds = self._start.options.user_absent_s
        if seconds:
            self._spawn(_report_absence(is_connected, seconds, writer))

    def _record_finish(self) -> str:
        log.info("Bot finished", event="bot.finished", stopped=self._stop_reason)
        return self._stop_reason or "bot_finished"

    def _record_crash(self, error: BaseException) -> BotCrash:
        options = self._start.options
        return record_crash(error, options.records.content, options.memory_mb)

    async def _listen(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        signalling: BotSignalling,
    ) -> None:
        """Handle messages of the supervisor; exit when it has closed the channel."""
        while (message := await pipes.receive(reader)) is not None:
            if "go" in message:
                self._keep_context(message.get("context"), writer)
                self._go.set()
            elif "stop" in message:
                if self._bot is not None and self._bot.done():
                    continue  # it has ended by itself, which its report says
                self._stop_reason = message["stop"]
                self._go.set()
                if self._bot is not None and self._is_call_handed_over:
                    self._spawn(self._leave_call(writer))
                elif self._bot is not None:
                    self._bot.cancel()
            elif "ask" in message:
                # A task for each: an offer takes seconds, and `stop` must not wait for it.
                self._spawn(_answer(signalling, message, writer))
        exit_now(1)

    def _keep_context(self, kept: Any, writer: asyncio.StreamWriter) -> None:
        """Keep what is said from now on, if the bot's entry asks for it; `kept` is what was said before."""
        if self._start.keep_context:
            context_keeper.KEEPER = ContextKeeper(
                kept, lambda data: pipes.send(writer, {"context": msgspec.Raw(data)})
            )

    @property
    def _is_call_handed_over(self) -> bool:
        return self._kind == "phone" and self._stop_reason == pipes.DRAINING

    async def _leave_call(self, writer: asyncio.StreamWriter) -> None:
        """Exit, so that another runner continues the call.

        The bot is not cancelled, and does not see the end of its stream: Pipecat's serializers would end the call
        at the carrier.
        """
        if context_keeper.KEEPER is not None:
            await context_keeper.KEEPER.take()
        await pipes.send(writer, _end_message(self._record_finish()))
        exit_with_handlers(0)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _end_message(reason: str, crash: BotCrash | None = None) -> dict[str, Any]:
    """Return the last message to the supervisor."""
    if crash is None:
        return {"ended": reason, "detail": None}
    facts = {"out_of_memory": True} if crash.is_out_of_memory else {}
    return {"ended": reason, "detail": crash.detail, **facts}


async def _usable_servers(ice_config: dict[str, Any]) -> UsableServers:
    servers = await usable_servers(ice_config)
    for fault in servers.faults:
        log.warning("A server of ice_servers cannot be used", fault=fault.message, hint=fault.hint)
    return servers


async def _watch_media(connection: Any) -> None:
    """Write the figures of the media of a peer connection. A failure costs them alone."""
    # The connection is replaced when the page reconnects.
    watch = MediaWatch(lambda: connection.pc, "bot", CallLog("off").write, LEVELS.take)
    try:
        await watch.run()
    except Exception as error:
        log.warning("The media of the call is no longer measured", error=error)


async def _answer(
    signalling: BotSignalling, message: dict[str, Any], writer: asyncio.StreamWriter
) -> None:
    status, body = await signalling.handle(message["method"], message["body"])
    await pipes.send(writer, {"answer": message["ask"], "status": status, "body": body})


async def _report_absence(
    is_connected: Callable[[], bool], seconds: float, writer: asyncio.StreamWriter
) -> None:
    """Report that no user has been connected for a while; the supervisor then stops the bot."""
    await wait_until_absent(is_connected, seconds)
    log.info("No user has been connected for a while; ending the session", seconds=seconds)
    await pipes.send(writer, {"absent": True})


async def _report_lag(writer: asyncio.StreamWriter) -> None:
    """Report how late this event loop is. Only the bot process itself can measure that."""
    while True:
        began_at = time.monotonic()
        await asyncio.sleep(pipes.LAG_PERIOD_S)
        lag_s = time.monotonic() - began_at - pipes.LAG_PERIOD_S
        await pipes.send(writer, {"lag_ms": round(max(lag_s, 0.0) * 1000, 1)})


def _close_code(reason: str) -> int:
    """Return the code with which the stream is closed when the bot has ended for `reason`."""
    if reason == "bot_finished":
        return bot_stream.NORMAL
    if reason == pipes.DRAINING:
        return bot_stream.RESTART
    return bot_stream.FAILED if reason == "bot_crashed" else bot_stream.GOING_AWAY
