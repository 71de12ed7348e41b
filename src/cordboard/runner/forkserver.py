"""Start the fork server, wait until it has loaded the bots, and fork bot processes from it.

The standard library's fork server does the work (``multiprocessing.forkserver``); ``preload`` runs in it. A bot
process that it forks has Pipecat and the bot files imported. The fork server ends when the runner ends, and
each bot process when the fork server ends, however they end.
"""

import asyncio
import contextlib
import multiprocessing
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Final

from cordboard.contract.errors import BotFileError, CordboardError, NotReadyError
from cordboard.emit import get_logger, quiesce
from cordboard.environment import set_preload_environment, without_secrets
from cordboard.processes import adopt_orphans, kill
from cordboard.runner import bot_process, loaded_bots, stdlib_internals
from cordboard.runner.bot_file import LOAD_TIMEOUT_S
from cordboard.runner.forked_process import ForkedProcess
from cordboard.runner.forkserver_output import ForkServerOutput
from cordboard.runner.pipes import LINE_MAX_BYTES, BotPipes, BotStart, PreloadReport
from cordboard.runner.process_table import ProcessTable, has_ended

# How long a bot process that was forked with its bot may take until it calls it. It takes milliseconds,
# on a busy machine seconds.
FORKED_TIMEOUT_S: Final = 20.0

# How often `wait_until_ended` polls: asyncio reports the end only of processes that it has started.
END_POLL_S: Final = 0.25

# How long a process that has sent its result may take to exit.
JOIN_S: Final = 1.0

SLOW_IMPORT_HINT: Final = (
    "Move slow work from the import into bot(); a runner does not wait longer."
)

_RESTARTING: Final = "The fork server of this runner has ended; another one is being started."
_PRELOAD_MODULE: Final = "cordboard.runner.preload"

log = get_logger("forkserver")


class ForkServer:
    """The fork server of one runner.

    Args:
        bots: The bot files by the bots' names.
        landlock: Whether fork server and bots are confined by Landlock where the kernel supports it.
        load_timeout_s: How long the bot files may take to be imported, in seconds.
        forked_timeout_s: How long a bot process may take until it calls its bot, in seconds.

    Attributes:
        bots: The bot files by the bots' names.
        load_timeout_s: How long a bot process may take until it has its bot: the time for a fork, or for the
            import if each bot process imports its bot file.
    """

    def __init__(
        self,
        bots: Mapping[str, str],
        *,
        landlock: bool = True,
        load_timeout_s: float = LOAD_TIMEOUT_S,
        forked_timeout_s: float = FORKED_TIMEOUT_S,
    ) -> None:
        self.bots = dict(bots)
        self.load_timeout_s = forked_timeout_s
        self._forked_timeout_s = forked_timeout_s
        self._import_timeout_s = load_timeout_s
        self._landlock = landlock
        self._output: ForkServerOutput | None = None
        self._context = multiprocessing.get_context("forkserver")
        self._processes = ProcessTable()
        self._socket = -1

    def start(self) -> None:
        """Start the fork server, which loads the bot files meanwhile."""
        adopt_orphans()
        self._processes.record_existing()
        set_preload_environment(self.bots, landlock=self._landlock)
        self._context.set_forkserver_preload([_PRELOAD_MODULE])
        self._launch()

    def wait_until_loaded(self) -> None:
        """Wait until the fork server has loaded the bot files.

        Raises:
            BotFileError: A bot file cannot be loaded, or not in time.
            CordboardError: The fork server ended.
        """
        report = self._request_report()
        self.load_timeout_s = self._import_timeout_s if report.threaded else self._forked_timeout_s
        if report.failures:
            self._wait_until_output_read()
        for message, hint in report.failures.values():
            raise BotFileError(message, hint=hint)
        if report.threaded:
            log.warning(
                "A bot file starts threads when it is imported, so each bot process imports it itself "
                "and starts more slowly",
                bots=list(self.bots),
            )
            self._check_bots_in_subprocess()
        # From here on, a child of the fork server that is not a bot process is an orphan.
        self._processes.server_pid = report.server_pid
        self._processes.kill_orphans()

    async def wait_until_ended(self) -> None:
        """Wait until the fork server has ended, and with it all of its bots."""
        parent_pid = stdlib_internals.fork_server_pid()
        while True:
            if has_ended(parent_pid):
                return
            await asyncio.sleep(END_POLL_S)

    async def restart(self) -> None:
        """Start another fork server in place of the present one; return when it has loaded the bots.

        Raises:
            CordboardError: As for ``wait_until_loaded``.
        """
        kill(stdlib_internals.fork_server_pid())  # one that could not load the bots still runs
        await self.wait_until_ended()
        await self.kill_orphans()  # also what a bot file started at import
        self._launch()
        await asyncio.to_thread(self.wait_until_loaded)

    async def fork(self, start: BotStart, lease_page: int) -> ForkedProcess:
        """Fork a bot process, which waits for ``go`` before it calls its bot.

        Args:
            start: The session and its options.
            lease_page: The descriptor of the lease page.

        Raises:
            NotReadyError: The fork server has ended.
        """
        own_socket, bot_socket = socket.socketpair()
        outputs = [os.pipe() for _ in range(3)]
        bot_pipes = BotPipes._make(
            [
                *(Connection(write, readable=False) for _, write in outputs),
                Connection(os.dup(lease_page)),
            ]
        )
        try:
            process = await asyncio.to_thread(self._fork, start, bot_socket, bot_pipes)
        except BaseException:
            own_socket.close()
            for read, _ in outputs:
                os.close(read)
            raise
        finally:
            bot_socket.close()
            for connection in bot_pipes:
                connection.close()
        own_socket.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=own_socket, limit=LINE_MAX_BYTES)
        stdout, stderr, records = (read for read, _ in outputs)
        return ForkedProcess(process, process.pid or 0, reader, writer, stdout, stderr, records)

    async def wait(self, forked: ForkedProcess) -> int | None:
        """Wait until the bot process `forked` has ended. Call this once for each process.

        Returns:
            The exit status, negative for a signal. None if the fork server has ended: it collects the status,
            and its bots end with it.
        """
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        sentinel = forked.process.sentinel
        loop.add_reader(sentinel, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(sentinel)
        status: int | None
        try:
            status = forkserver.read_signed(sentinel)
        except (OSError, EOFError):
            status = None
        forked.process.join()
        self._processes.bots.discard(forked.pid)
        forked.process.close()
        return status

    async def kill_orphans(self) -> None:
        """Kill the processes that ended bots have left behind."""
        await asyncio.to_thread(self._processes.kill_orphans)

    def _launch(self) -> None:
        """Start the fork server's process, without this process's secrets.

        The environment is changed for a moment, so no other thread may read secrets from it meanwhile.
        """
        with self._processes.lock, without_secrets():
            self._processes.server_pid = 0
            self._start_process()
            stdlib_internals.disable_restart()

    def _start_process(self) -> None:
        """Start the fork server unless it runs, in a way that leaves nothing on the disk.

        Its socket has a name only until the server listens. From then on this process reaches it by a
        descriptor, so that even a killed runner leaves no file behind.
        """
        if not hasattr(
            os, "O_PATH"
        ):  # not Linux: the file is removed when the runner exits in order
            forkserver.ensure_running()
            return
        parent_pid = stdlib_internals.fork_server_pid()
        if parent_pid and not has_ended(parent_pid):
            return
        with _short_directory() as directory:
            self._output = ForkServerOutput()
            with (
                stdlib_internals.temporary_directory(directory),
                self._output.as_standard_input(),
            ):
                forkserver.ensure_running()
            if self._socket >= 0:
                os.close(self._socket)
            address = stdlib_internals.fork_server_address()
            self._socket = os.open(address, os.O_PATH | os.O_CLOEXEC)
        stdlib_internals.set_fork_server_address(f"/proc/self/fd/{self._socket}")

    def _fork(self, start: BotStart, control: socket.socket, bot_pipes: BotPipes) -> BaseProcess:
        with self._processes.lock:
            parent_pid = stdlib_internals.fork_server_pid()
            if not self._processes.server_pid or has_ended(parent_pid):
                raise NotReadyError(_RESTARTING, retry_after_s=1)
            process = self._context.Process(
                target=bot_process.main,
                args=(start, control, bot_pipes),
                name="cordboard-bot",
                daemon=False,
            )
            try:
                process.start()
            except (OSError, EOFError) as error:  # the fork server ends at this moment
                raise NotReadyError(_RESTARTING, retry_after_s=1) from error
            self._processes.bots.add(process.pid or 0)
            stdlib_internals.forget_child(process)  # `wait` collects the status
        return process

    def _request_report(self) -> PreloadReport:
        report: PreloadReport | None = self._call(loaded_bots.send_report)
        if report is None:
            self._wait_until_output_read()
            raise CordboardError(
                "The fork server ended before it had loaded the bot.",
                hint=f"Check whether {', '.join(self.bots.values())} ends its process at import (os._exit, "
                "a crash in C code). Its last output, if any, is above.",
            )
        return report

    def _check_bots_in_subprocess(self) -> None:
        failure = self._call(loaded_bots.send_first_failure)
        if failure:
            self._wait_until_output_read()
            raise BotFileError(failure[0], hint=failure[1])

    def _call(self, function: Callable[[Connection], None]) -> Any:
        """Run a function in a process forked like a bot process; return what it sends.

        Returns:
            None if the fork server ended, which a bot file can cause.
        """
        own_end, other_end = self._context.Pipe(duplex=False)
        process = self._context.Process(target=function, args=(other_end,), daemon=True)
        quiesce()
        deadline = time.monotonic() + self._import_timeout_s
        try:
            with _kill_server_after(self._import_timeout_s):
                process.start()
            other_end.close()
            if not own_end.poll(max(deadline - time.monotonic(), 0)):
                raise self._timeout_error()
            return own_end.recv()
        except (EOFError, ConnectionError):
            if time.monotonic() >= deadline:
                raise self._timeout_error() from None
            return None
        finally:
            own_end.close()
            if process.ident is not None:
                process.join(JOIN_S)

    def _timeout_error(self) -> BotFileError:
        files = ", ".join(self.bots.values())
        return BotFileError(
            f"Bot file {files} was still being imported after {self._import_timeout_s:.0f} s.",
            hint=SLOW_IMPORT_HINT,
        )

    def _wait_until_output_read(self) -> None:
        """Let the lines of the fork server appear before an error about it."""
        if self._output is not None:
            self._output.wait_until_read()


@contextlib.contextmanager
def _kill_server_after(seconds: float) -> Iterator[None]:
    """Kill the fork server if the block takes longer than `seconds` seconds.

    The fork server forks nothing before it has loaded the bots, so a bot file whose import hangs would block
    the start of a process for ever.
    """
    timer = threading.Timer(seconds, lambda: kill(stdlib_internals.fork_server_pid()))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextlib.contextmanager
def _short_directory() -> Iterator[str]:
    """Yield a short path of a private directory: a socket's path has at most 107 bytes, TMPDIR may have more."""
    with tempfile.TemporaryDirectory(prefix="cordboard-") as directory:
        descriptor = os.open(directory, os.O_PATH | os.O_CLOEXEC)
        try:
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
