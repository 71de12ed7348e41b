"""One fork server: a process that imports Pipecat, and for each bot one that forks bot processes.

The standard library's fork server does the work (``multiprocessing.forkserver``); ``preload`` runs in it.
"""

import contextlib
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Final

from cordboard.contract.errors import BotFileError, CordboardError, NotReadyError
from cordboard.emit import get_logger, quiesce
from cordboard.environment import without_secrets
from cordboard.processes import kill
from cordboard.runner import loaded_bots, stdlib_internals
from cordboard.runner.bot_fork_server import BotForkServer, open_sockets
from cordboard.runner.forkserver_output import ForkServerOutput
from cordboard.runner.memory_limit import MemoryLimitError, check_memory
from cordboard.runner.pipes import PreloadReport
from cordboard.runner.process_table import ProcessTable, ServerProcesses
from cordboard.runner.readiness import Readiness

# How long a process that has sent its result may take to exit.
JOIN_S: Final = 1.0

SLOW_IMPORT_HINT: Final = (
    "Move slow work from the import into bot(); a runner does not wait longer."
)

_PRELOAD_MODULE: Final = "cordboard.runner.preload"
_ENDED: Final = "The fork server of this runner has ended; another one is being started."


log = get_logger("forkserver")


class ForkServerProcess:
    """The processes from which bot processes are forked, and their parents, which imported the bot files.

    A runner has one, and a second one while it loads changed bot files, and until the calls on the old ones
    have ended.

    Args:
        bots: The bot files by the bots' names.
        table: The processes of the runner.
        import_timeout_s: How long the bot files may take to be imported, in seconds.
        memory_mb: The most memory of one bot process, in megabytes; None for no limit.

    Attributes:
        processes: Its process ids, and those of the bots that it has forked.
    """

    def __init__(
        self,
        bots: Mapping[str, str],
        table: ProcessTable,
        import_timeout_s: float,
        memory_mb: int | None = None,
    ) -> None:
        self.processes = ServerProcesses(0)
        self._servers = {name: BotForkServer(name, file) for name, file in bots.items()}
        self._table = table
        self._import_timeout_s = import_timeout_s
        self._memory_mb = memory_mb
        self._context = multiprocessing.get_context("forkserver")
        self._server = forkserver.ForkServer()
        self._server.set_forkserver_preload([_PRELOAD_MODULE])
        self._output: ForkServerOutput | None = None

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
        deadline = time.monotonic() + self._import_timeout_s
        server_pids = {}
        for server in self._servers.values():  # they load at the same time
            report = self._request_report(server, deadline)
            server_pids[report.server_pid] = report.importer_pid
            self._accept(server, report)
        # From here on, a child of a serving process that is not a bot process is an orphan.
        self.processes.server_pids = server_pids

    @property
    def is_serving(self) -> bool:
        """Whether the bot files are loaded and the process runs."""
        return bool(self.processes.server_pids) and not self.processes.has_ended

    def server_of(self, bot: str) -> BotForkServer:
        """Return the fork server of `bot`."""
        return self._servers[bot]

    def fork(self, bot: str, target: Callable[..., Any], args: tuple[Any, ...]) -> BaseProcess:
        """Fork a bot process.

        Args:
            bot: The name of its bot.
            target: The function that it runs.
            args: The arguments of the function.

        Raises:
            NotReadyError: The fork server has not loaded the bots, or has ended.
        """
        if not self.is_serving:
            raise NotReadyError(_ENDED, retry_after_s=1)
        # The name is that in a program that nothing has forked.
        process = self._context.Process(target=target, args=args, name="MainProcess", daemon=False)
        try:
            self._start(process, self._servers[bot])
        except (OSError, EOFError) as error:  # the fork server ends at this moment
            raise NotReadyError(_ENDED, retry_after_s=1) from error
        self.processes.bots.add(process.pid or 0)
        stdlib_internals.forget_child(process)  # `ForkServer.wait` collects the status
        return process

    @property
    def bots_with_readyz(self) -> list[str]:
        """The names of the bots whose files define ``readyz()``."""
        return [name for name, server in self._servers.items() if server.has_readyz]

    def ask_readyz(self, bot: str, timeout_s: float) -> Readiness | None:
        """Call ``readyz()`` of a bot file in a process that is forked for it.

        Args:
            bot: The name of the bot.
            timeout_s: Seconds that the function may take.

        Returns:
            None if the fork server has ended.
        """
        own_end, other_end = self._context.Pipe(duplex=False)
        try:
            with self._table.lock:
                process = self.fork(bot, loaded_bots.send_readyz, (other_end,))
        except NotReadyError:
            own_end.close()
            return None
        finally:
            other_end.close()
        if self._servers[bot].imports_in_child:
            timeout_s += self._import_timeout_s
        try:
            if not own_end.poll(timeout_s):
                return Readiness(is_ready=False, reason=f"readyz() took over {timeout_s:.0f} s")
            readiness: Readiness = own_end.recv()
        except (EOFError, OSError):
            return Readiness(is_ready=False, reason="readyz() ended its process")
        else:
            return readiness
        finally:
            own_end.close()
            kill(process.pid or 0)
            process.join(JOIN_S)
            self.processes.bots.discard(process.pid or 0)

    def kill(self) -> None:
        """Kill the process; its bots and what the bot files started at import end with it."""
        kill(self.processes.parent_pid)

    def close(self) -> None:
        """Release the descriptors of a process that has ended, or that is to end by itself."""
        stdlib_internals.close_alive_pipe(self._server)
        for server in self._servers.values():
            server.close()

    def _start_process(self) -> None:
        """Start the process in a way that leaves nothing on the disk."""
        # First, since ``ensure_running`` starts it as well: with our socket as its standard input it would keep
        # open what a fork server that is killed early has not received, itself included, and never end.
        resource_tracker.ensure_running()
        with open_sockets(self._servers.values()) as sockets:
            self._output = ForkServerOutput()
            with (
                stdlib_internals.temporary_directory(sockets.directory),
                self._output.as_standard_input(sockets.listeners),
            ):
                self._server.ensure_running()

    def _start(self, process: BaseProcess, server: BotForkServer) -> None:
        """Let the fork server `server` fork `process`."""
        stdlib_internals.set_server_address(self._server, server.address)
        with stdlib_internals.forking_from(self._server):
            process.start()

    def _request_report(self, server: BotForkServer, deadline: float) -> PreloadReport:
        report: PreloadReport | None = self._call(server, loaded_bots.send_report, deadline)
        if report is None:
            self._wait_until_output_read()
            raise CordboardError(
                "The fork server ended before it had loaded the bot.",
                hint=f"Check whether {self._files()} ends its process at import (os._exit, "
                "a crash in C code). Its last output, if any, is above.",
            )
        return report

    def _accept(self, server: BotForkServer, report: PreloadReport) -> None:
        """Take over what the fork server `server` reports; raise the failure of its bot file."""
        server.imports_in_child = bool(report.opened)
        server.has_readyz = report.has_readyz
        server.build = report.build
        if report.policy:
            log.warning(
                "A bot file installs an event loop policy; bot() runs in asyncio's own event loop anyway",
                bot=server.name,
                file=server.file,
                policy=report.policy,
            )
        if report.opened:
            log.warning(
                "A bot file opens at import what its sessions must not share, so each bot process imports "
                "the file itself and starts more slowly",
                bot=server.name,
                file=server.file,
                opened=report.opened,
                seconds=report.import_s,
            )
        if report.failure:
            self._wait_until_output_read()
            message, hint = report.failure
            raise BotFileError(message, hint=hint)
        if self._memory_mb is not None:  # otherwise each session would fail
            try:
                check_memory(report.memory_mb, self._memory_mb)
            except MemoryLimitError as error:
                raise BotFileError(f"Bot {server.name!r} cannot run: {error}") from error

    def _call(
        self, server: BotForkServer, function: Callable[[Connection], None], deadline: float
    ) -> Any:
        """Run a function in a process forked like a bot process; return what it sends.

        Args:
            server: The fork server of a bot.
            function: Sends one value on the connection that it gets.
            deadline: The ``time.monotonic`` time at which the bot file must have been imported.

        Returns:
            None if the fork server ended, which a bot file can cause.
        """
        own_end, other_end = self._context.Pipe(duplex=False)
        process = self._context.Process(target=function, args=(other_end,), daemon=True)
        quiesce()
        try:
            with self._killed_after(max(deadline - time.monotonic(), 0)):
                self._start(process, server)
            other_end.close()
            if not own_end.poll(max(deadline - time.monotonic(), 0)):
                raise self._timeout_error(server)
            return own_end.recv()
        except (EOFError, ConnectionError):
            if time.monotonic() >= deadline:
                raise self._timeout_error(server) from None
            return None
        finally:
            own_end.close()
            if process.ident is not None:
                process.join(JOIN_S)

    def _files(self) -> str:
        return ", ".join(server.file for server in self._servers.values())

    def _timeout_error(self, server: BotForkServer) -> BotFileError:
        return BotFileError(
            f"Bot file {server.file} was still being imported after {self._import_timeout_s:.0f} s.",
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
