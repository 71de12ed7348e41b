"""One process of the fork server: it imports Pipecat and the bot files, and forks bot processes.

The standard library's fork server does the work (``multiprocessing.forkserver``); ``preload`` runs in it.
"""

import contextlib
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Final

from cordboard.contract.errors import BotFileError, CordboardError, NotReadyError
from cordboard.emit import quiesce
from cordboard.environment import without_secrets
from cordboard.processes import kill
from cordboard.runner import loaded_bots, stdlib_internals
from cordboard.runner.forkserver_output import ForkServerOutput
from cordboard.runner.pipes import PreloadReport
from cordboard.runner.process_table import ProcessTable, ServerProcesses

# How long a process that has sent its result may take to exit.
JOIN_S: Final = 1.0

SLOW_IMPORT_HINT: Final = (
    "Move slow work from the import into bot(); a runner does not wait longer."
)

_PRELOAD_MODULE: Final = "cordboard.runner.preload"
_ENDED: Final = "The fork server of this runner has ended; another one is being started."


class ForkServerProcess:
    """A process from which bot processes are forked, and its parent, which imported the bot files.

    A runner has one, and a second one while it loads changed bot files, and until the calls on the old ones
    have ended.

    Args:
        files: The bot files, for messages.
        table: The processes of the runner.
        import_timeout_s: How long the bot files may take to be imported, in seconds.

    Attributes:
        processes: Its process ids, and those of the bots that it has forked.
        is_threaded: Whether each bot process imports its bot file itself.
    """

    def __init__(self, files: list[str], table: ProcessTable, import_timeout_s: float) -> None:
        self.processes = ServerProcesses(0)
        self.is_threaded = False
        self._files = files
        self._table = table
        self._import_timeout_s = import_timeout_s
        self._context = multiprocessing.get_context("forkserver")
        self._server = forkserver.ForkServer()
        self._server.set_forkserver_preload([_PRELOAD_MODULE])
        self._output: ForkServerOutput | None = None
        self._socket = -1

    def launch(self) -> None:
        """Start the process, without this process's secrets; it loads the bot files meanwhile.

        The environment is changed for a moment, so no other thread may read secrets from it meanwhile. The
        kernel ends the process with the thread that starts it, so this must be the main thread.
        """
        with self._table.lock, without_secrets():
            self._start_process()
            stdlib_internals.disable_restart(self._server)
            self.processes.parent_pid = stdlib_internals.server_pid(self._server)
            self._table.servers.append(self.processes)

    def wait_until_loaded(self) -> None:
        """Wait until the bot files are loaded.

        Raises:
            BotFileError: A bot file cannot be loaded, or not in time.
            CordboardError: The process ended.
        """
        report = self._request_report()
        if report.failures:
            self._wait_until_output_read()
        for message, hint in report.failures.values():
            raise BotFileError(message, hint=hint)
        self.is_threaded = report.threaded
        if report.threaded:
            self._check_bots_in_subprocess()
        # From here on, a child of the fork server that is not a bot process is an orphan.
        self.processes.server_pid = report.server_pid

    def fork(self, target: Callable[..., Any], args: tuple[Any, ...]) -> BaseProcess:
        """Fork a bot process.

        Args:
            target: The function that it runs.
            args: The arguments of the function.

        Raises:
            NotReadyError: The fork server has not loaded the bots, or has ended.
        """
        if not self.processes.server_pid or self.processes.has_ended:
            raise NotReadyError(_ENDED, retry_after_s=1)
        process = self._context.Process(
            target=target, args=args, name="cordboard-bot", daemon=False
        )
        try:
            with stdlib_internals.forking_from(self._server):
                process.start()
        except (OSError, EOFError) as error:  # the fork server ends at this moment
            raise NotReadyError(_ENDED, retry_after_s=1) from error
        self.processes.bots.add(process.pid or 0)
        stdlib_internals.forget_child(process)  # `ForkServer.wait` collects the status
        return process

    def kill(self) -> None:
        """Kill the process; its bots and what the bot files started at import end with it."""
        kill(self.processes.parent_pid)

    def close(self) -> None:
        """Release the descriptors of a process that has ended, or that is to end by itself."""
        stdlib_internals.close_alive_pipe(self._server)
        if self._socket >= 0:
            os.close(self._socket)
            self._socket = -1

    def _start_process(self) -> None:
        """Start the process in a way that leaves nothing on the disk.

        Its socket has a name only until the server listens. From then on this process reaches it by a
        descriptor, so that even a killed runner leaves no file behind.
        """
        if not hasattr(
            os, "O_PATH"
        ):  # not Linux: the file is removed when the runner exits in order
            self._server.ensure_running()
            return
        with _short_directory() as directory:
            self._output = ForkServerOutput()
            with (
                stdlib_internals.temporary_directory(directory),
                self._output.as_standard_input(),
            ):
                self._server.ensure_running()
            address = stdlib_internals.server_address(self._server)
            self._socket = os.open(address, os.O_PATH | os.O_CLOEXEC)
        stdlib_internals.set_server_address(self._server, f"/proc/self/fd/{self._socket}")

    def _request_report(self) -> PreloadReport:
        report: PreloadReport | None = self._call(loaded_bots.send_report)
        if report is None:
            self._wait_until_output_read()
            raise CordboardError(
                "The fork server ended before it had loaded the bot.",
                hint=f"Check whether {', '.join(self._files)} ends its process at import (os._exit, "
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
            with (
                self._killed_after(self._import_timeout_s),
                stdlib_internals.forking_from(self._server),
            ):
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
        files = ", ".join(self._files)
        return BotFileError(
            f"Bot file {files} was still being imported after {self._import_timeout_s:.0f} s.",
            hint=SLOW_IMPORT_HINT,
        )

    def _wait_until_output_read(self) -> None:
        """Let the lines of the fork server appear before an error about it."""
        if self._output is not None:
            self._output.wait_until_read()

    @contextlib.contextmanager
    def _killed_after(self, seconds: float) -> Iterator[None]:
        """Kill the process if the block takes longer than `seconds` seconds.

        The fork server forks nothing before it has loaded the bots, so a bot file whose import hangs would
        block the start of a process for ever.
        """
        timer = threading.Timer(seconds, self.kill)
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
