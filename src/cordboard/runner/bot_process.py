"""The bot's process: one session's environment, context and output; then the user's ``bot()``.

It enters ``bot()`` only after the supervisor has said ``go``, which it does when the store has
confirmed that this session and epoch hold the room.
"""

import asyncio
import atexit
import contextlib
import os
import resource
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from cordboard import emit
from cordboard.context import Context, bind_process
from cordboard.context.carrier import inject_environment
from cordboard.context.launch import context_of
from cordboard.contract.ids import is_webrtc_room
from cordboard.contract.lease import Periods
from cordboard.contract.redaction import redact_keys
from cordboard.emit.pipeline import pipeline
from cordboard.environment import SECRET_VARIABLES, preload_landlock
from cordboard.processes import adopt_orphans, die_with_parent
from cordboard.runner import pipes
from cordboard.runner.landlock import confine
from cordboard.runner.lease_guard import LeaseGuard, LeasePage
from cordboard.runner.pipes import BotStart
from cordboard.runner.startup_errors import StartupErrorReporter, limit_in_words, limit_memory

log = emit.get_logger("bot")


def main(
    start: BotStart,
    control: socket.socket,
    out: Connection,
    err: Connection,
    records: Connection,
    lease_page: Connection,
) -> None:
    """Be the bot's process; never returns.

    Args:
        start: Which session, which bot.
        control: The line to the supervisor; its end is our end.
        out: Where our standard output goes.
        err: Where our standard error goes.
        records: Where our log records go.
        lease_page: The page that says when our lease was last renewed.
    """
    last_words = StartupErrorReporter(control, start.memory_mb)
    try:
        fence = _set_up(start, out, err, records, lease_page)
    except BaseException as error:  # noqa: BLE001 - whatever it was, it is told
        last_words.tell(error)
        _leave(1)
    status = 1
    try:
        with asyncio.Runner(loop_factory=lambda: _Loop(fence.selector())) as loop:
            status = loop.run(_Life(start, control).run())
            _end_within(pipes.EXIT_GRACE_S, status)
    except BaseException as error:  # noqa: BLE001 - whatever it was, it is told
        last_words.tell(error)
        _end_within(pipes.EXIT_GRACE_S, status)
    finally:
        _take_leave(status)


def _set_up(
    start: BotStart, out: Connection, err: Connection, records: Connection, lease_page: Connection
) -> LeaseGuard:
    """Bind this process to the session before any code of its bot runs."""
    os.setsid()
    die_with_parent(os.getppid())
    adopt_orphans()  # so that what we leave behind is known to be of a session that has ended
    signal.signal(pipes.RUNNER_ENDED, signal.SIG_DFL)
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    _write_by_lines()
    _set_limits(start)
    if preload_landlock():
        confine()  # in a domain of its own, so that the other bots are out of reach
    context = context_of(start.launch)
    _set_environment(context)
    bind_process(context)
    pipeline.start_boot(start.boot)
    emit.configure(service="bot", fd=records.fileno(), format="json")
    fence = LeaseGuard(LeasePage(lease_page.fileno()), Periods(start.lease_s))
    fence.install()
    return fence


class _Loop(asyncio.SelectorEventLoop):
    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Do not wait for threads: one that the bot has left behind must not keep its process alive."""


def _write_by_lines() -> None:
    """Make each print visible at once, also through a stream that the bot file has set."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def _set_limits(start: BotStart) -> None:
    """Set limits, so that a bot that leaks, writes without end or crashes fails alone.

    RLIMIT_NPROC is not among them: it counts all threads of the user, those of other bots too, and
    does not hold for root. The runner counts the processes of each bot.
    """
    limit_memory(start.memory_mb)
    most = start.file_mb * 1024 * 1024
    with contextlib.suppress(OSError, ValueError):  # one that is set lower already stays
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _take_leave(status: int) -> NoReturn:
    """Exit as Python does, with the handlers of ``atexit``: exporters flush there.

    But do not wait for threads that the bot has left behind.
    """
    with contextlib.suppress(BaseException):
        atexit._run_exitfuncs()  # noqa: SLF001 - os._exit, in _leave, does not run them
    _leave(status)


def _end_within(seconds: float, status: int) -> None:
    """Limit the time that the end of the event loop and the exit handlers may take."""

    def end() -> None:
        log.warning("The exit handlers did not end in time; ending without them", seconds=seconds)
        _leave(status)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def _leave(status: int) -> NoReturn:
    """End now: threads that the bot has left behind must not keep the process."""
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    emit.shutdown()
    os._exit(status)


def _set_environment(context: Context) -> None:
    for name in SECRET_VARIABLES:
        # The fork server has never had our REDIS_URL: one that is here was set by the bot file.
        if name != "REDIS_URL":
            os.environ.pop(name, None)
    inject_environment(context, os.environ)
    from cordboard.runner import pipeline_observers

    already = os.environ.get("PIPECAT_SETUP_FILES", "")
    os.environ["PIPECAT_SETUP_FILES"] = os.pathsep.join(
        filter(None, [already, pipeline_observers.__file__])
    )


@dataclass(slots=True)
class _Life:
    """From birth to the last word to the supervisor."""

    start: BotStart
    control: socket.socket
    _go: asyncio.Event = field(default_factory=asyncio.Event)
    _bot: asyncio.Task[Any] | None = None
    _stop: str | None = None
    _connection: asyncio.Future[Any] | None = None
    _signalling: Any = None
    _presence: asyncio.Task[None] | None = None

    async def run(self) -> int:
        """Live; return the exit status."""
        self.control.setblocking(False)
        reader, writer = await asyncio.open_connection(
            sock=self.control, limit=pipes.LINE_MAX_BYTES
        )
        self._connection = asyncio.get_running_loop().create_future()
        listening = asyncio.create_task(self._listen(reader, writer), name="cordboard control")
        lag = asyncio.create_task(_tell_lag(writer), name="cordboard lag")
        await self._go.wait()
        reason, detail = await self._bot_to_its_end(writer)
        await pipes.send(writer, {"ended": reason, "detail": detail})
        for task in (listening, lag):
            task.cancel()
        return 1 if reason == "bot_crashed" else 0

    async def _bot_to_its_end(self, writer: asyncio.StreamWriter) -> tuple[str, str | None]:
        """Run ``bot()``; return the reason of its end."""
        self._bot = asyncio.create_task(self._run_bot(writer), name="bot")
        if self._stop is not None:
            self._bot.cancel()
        try:
            return await self._bot, None
        except asyncio.CancelledError as error:
            if self._stop is None:
                return self._crashed(error)
        except _ExitedError as exited:
            if self._stop is None and exited.error.code not in {None, 0}:
                return self._crashed(exited.error)
        except BaseException as error:  # noqa: BLE001 - the user's code may raise anything
            return self._crashed(error)
        log.info("Bot finished", event="bot.finished", stopped=self._stop)
        return self._stop or "bot_finished", None

    def _crashed(self, error: BaseException) -> tuple[str, str]:
        log.error("Bot crashed", event="bot.crashed", error=error)
        detail = redact_keys(f"{type(error).__name__}: {error}")[:400]
        if isinstance(error, MemoryError) or isinstance(error.__cause__, MemoryError):
            detail += f" ({limit_in_words(self.start.memory_mb)})"
        return "bot_crashed", detail

    async def _run_bot(self, writer: asyncio.StreamWriter) -> str:
        from cordboard.runner.bot_arguments import runner_arguments
        from cordboard.runner.preload import bot_named

        bot = bot_named(self.start.bot)
        await pipes.send(writer, {"loaded": True})
        connection = None
        if is_webrtc_room(self.start.launch.room_url):
            try:
                async with asyncio.timeout(self.start.offer_timeout_s):
                    assert self._connection is not None  # noqa: S101 - made in run()
                    connection = await asyncio.shield(self._connection)
            except TimeoutError:
                log.warning(
                    "Nobody came within the time for an offer", seconds=self.start.offer_timeout_s
                )
                return "user_absent"
            if self.start.user_absent_s:
                self._presence = asyncio.create_task(
                    _tell_absence(connection, self.start.user_absent_s, writer), name="presence"
                )
        arguments = runner_arguments(self.start.launch, connection, self.start.daily_domains)
        try:
            await bot(arguments)
        except SystemExit as error:
            # Out of a task it would tear the event loop down before the end is told.
            raise _ExitedError(error) from error
        log.info("Bot finished", event="bot.finished", stopped=self._stop)
        return self._stop or "bot_finished"

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Do what the supervisor says; end when it has gone."""
        answers: set[asyncio.Task[None]] = set()
        while (message := await pipes.receive(reader)) is not None:
            if "go" in message:
                self._go.set()
            elif "stop" in message:
                self._stop = message["stop"]
                self._go.set()
                if self._bot is not None:
                    self._bot.cancel()
            elif "ask" in message:
                task = asyncio.create_task(self._answer(message, writer))
                answers.add(task)
                task.add_done_callback(answers.discard)
        _leave(1)

    async def _answer(self, message: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        if self._signalling is None:
            from cordboard.runner.signalling import Signalling

            assert self._connection is not None  # noqa: S101 - made in run()
            self._signalling = Signalling(self._connection, local=self.start.local)
        status, body = await self._signalling.handle(message["method"], message["body"])
        await pipes.send(writer, {"answer": message["ask"], "status": status, "body": body})


class _ExitedError(Exception):
    """The bot called ``sys.exit``."""

    def __init__(self, error: SystemExit) -> None:
        super().__init__(error)
        self.error = error


async def _tell_absence(connection: Any, seconds: float, writer: asyncio.StreamWriter) -> None:
    """Report when nobody has been connected for a while; the supervisor then stops the bot."""
    from cordboard.runner.user_absence import wait_until_absent

    await wait_until_absent(connection, seconds)
    log.info("Nobody has been connected for a while; the session ends", seconds=seconds)
    await pipes.send(writer, {"absent": True})


async def _tell_lag(writer: asyncio.StreamWriter) -> None:
    """Tell how late this event loop runs: a supervisor's heartbeat would hide a hung bot."""
    while True:
        began = time.monotonic()
        await asyncio.sleep(pipes.LAG_PERIOD_S)
        lag_s = time.monotonic() - began - pipes.LAG_PERIOD_S
        await pipes.send(writer, {"lag_ms": round(max(lag_s, 0.0) * 1000, 1)})
