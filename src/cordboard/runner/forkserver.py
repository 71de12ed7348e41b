"""Start the fork server, wait until it has loaded the bots, and fork bot processes from it.

A bot process that is forked has Pipecat and its bot file imported. A fork server ends when the runner ends,
and each bot process when its fork server ends, however they end.
"""

import asyncio
import os
import socket
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Final

from cordboard.emit import get_logger
from cordboard.environment import set_preload_environment
from cordboard.processes import adopt_orphans
from cordboard.runner import bot_process
from cordboard.runner.bot_file import LOAD_TIMEOUT_S
from cordboard.runner.bot_fork_server import BotForkServer
from cordboard.runner.forked_process import ForkedProcess
from cordboard.runner.forkserver_process import ForkServerProcess
from cordboard.runner.pipes import LINE_MAX_BYTES, BotPipes, BotStart
from cordboard.runner.process_table import ProcessTable
from cordboard.runner.readiness import Readiness

# How long a bot process that was forked with its bot may take until it calls it. It takes milliseconds,
# on a busy machine seconds.
FORKED_TIMEOUT_S: Final = 20.0

# How often `wait_until_ended` polls: asyncio reports the end only of processes that it has started.
END_POLL_S: Final = 0.25

log = get_logger("forkserver")


class ForkServer:
    """The fork server of one runner.

    Args:
        bots: The bot files by the bots' names.
        arguments: The arguments of the bot files.
        landlock: Whether fork server and bots are confined by Landlock where the kernel supports it.
        load_timeout_s: How long the bot files may take to be imported, in seconds.
        forked_timeout_s: How long a bot process may take until it calls its bot, in seconds.
        memory_mb: The most memory of one bot process, in megabytes; None for no limit.

    Attributes:
        bots: The bot files by the bots' names.
    """

    def __init__(
        self,
        bots: Mapping[str, str],
        arguments: Sequence[str] = (),
        *,
        landlock: bool = True,
        load_timeout_s: float = LOAD_TIMEOUT_S,
        forked_timeout_s: float = FORKED_TIMEOUT_S,
        memory_mb: int | None = None,
    ) -> None:
        self.bots = dict(bots)
        self._arguments = tuple(arguments)
        self._forked_timeout_s = forked_timeout_s
        self._import_timeout_s = load_timeout_s
        self._landlock = landlock
        self._memory_mb = memory_mb
        self._table = ProcessTable()
        self._current = self._new_process()
        # Those whose bot files have changed since, and that still have bots.
        self._replaced: list[ForkServerProcess] = []
        self._starting = asyncio.Lock()  # held by `restart` and `reload`

    def start(self) -> None:
        """Start the fork server, which loads the bot files meanwhile."""
        adopt_orphans()
        self._table.record_existing()
        set_preload_environment(self.bots, self._arguments, landlock=self._landlock)
        self._current.launch()

    def wait_until_loaded(self) -> None:
        """Wait until the fork server has loaded the bot files.

        Raises:
            BotFileError: A bot file cannot be loaded, or not in time.
            CordboardError: The fork server ended.
        """
        self._wait_until_loaded(self._current)

    async def wait_until_ended(self) -> None:
        """Wait until the fork server has ended, and with it all of its bots."""
        while True:
            if self._current.processes.has_ended:
                return
            await asyncio.sleep(END_POLL_S)

    async def restart(self) -> None:
        """Start another fork server in place of the present one; return when it has loaded the bots.

        Raises:
            CordboardError: As for ``wait_until_loaded``.
        """
        async with self._starting:
            if self._current.is_serving:  # `reload` has just replaced the one that ended
                return
            await self._end(self._current)  # one that could not load the bots still runs
            self._current = self._new_process()
            self._current.launch()
            await asyncio.to_thread(self.wait_until_loaded)

    async def reload(self) -> None:
        """Load the bot files again, for the calls that start from now on.

        The bots of the present fork server go on; it ends with the last of them. If the files cannot be
        loaded, it stays in service.

        Raises:
            CordboardError: As for ``wait_until_loaded``.
        """
        async with self._starting:
            new = self._new_process()
            new.launch()
            try:
                await asyncio.to_thread(self._wait_until_loaded, new)
            except BaseException:
                await asyncio.shield(self._end(new))
                raise
            with self._table.lock:  # no fork is in progress
                old, self._current = self._current, new
                self._replaced.append(old)
        await self._end_unused()

    async def fork(self, start: BotStart, lease_page: int) -> ForkedProcess:
        """Fork a bot process, which waits for ``go`` before it calls its bot.

        Args:
            start: The session and its options.
            lease_page: The descriptor of the lease page.

        Raises:
            NotReadyError: The fork server has ended.
        """
        own_socket, bot_socket = socket.socketpair()
        sender, receiver = socket.socketpair()
        outputs = [os.pipe() for _ in range(3)]
        stdout, stderr, records = (Connection(write, readable=False) for _, write in outputs)
        page = Connection(os.dup(lease_page))
        bot_pipes = BotPipes(stdout, stderr, records, page, receiver)
        try:
            process, server = await asyncio.to_thread(self._fork, start, bot_socket, bot_pipes)
        except BaseException:
            own_socket.close()
            sender.close()
            for read, _ in outputs:
                os.close(read)
            raise
        finally:
            bot_socket.close()
            for connection in bot_pipes:
                connection.close()
        own_socket.setblocking(False)
        sender.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=own_socket, limit=LINE_MAX_BYTES)
        stdout_end, stderr_end, records_end = (read for read, _ in outputs)
        imports_bot = server.imports_in_child
        timeout_s = self._import_timeout_s if imports_bot else self._forked_timeout_s
        return ForkedProcess(
            process,
            process.pid or 0,
            reader,
            writer,
            sender,
            stdout_end,
            stderr_end,
            records_end,
            imports_bot=imports_bot,
            load_timeout_s=timeout_s,
            build=server.build,
        )

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
        for server in [*self._table.servers]:
            server.bots.discard(forked.pid)
        forked.process.close()
        await self._end_unused()
        return status

    @property
    def bots_with_readyz(self) -> list[str]:
        """The names of the bots whose files define ``readyz()``."""
        return self._current.bots_with_readyz

    async def ask_readyz(self, bot: str, timeout_s: float) -> Readiness | None:
        """Call ``readyz()`` of a bot file in a process that is forked for it.

        Args:
            bot: The name of the bot.
            timeout_s: Seconds that the function may take.

        Returns:
            None if the fork server has ended.
        """
        readiness = await asyncio.to_thread(self._current.ask_readyz, bot, timeout_s)
        await self.kill_orphans()  # what the function has left behind
        return readiness

    async def kill_orphans(self) -> None:
        """Kill the processes that ended bots have left behind."""
        await asyncio.to_thread(self._table.kill_orphans)

    def _new_process(self) -> ForkServerProcess:
        return ForkServerProcess(self.bots, self._table, self._import_timeout_s, self._memory_mb)

    def _wait_until_loaded(self, process: ForkServerProcess) -> None:
        process.wait_until_loaded()
        self._table.kill_orphans()

    def _fork(
        self, start: BotStart, control: socket.socket, bot_pipes: BotPipes
    ) -> tuple[BaseProcess, BotForkServer]:
        """Fork a bot process; return it, and the fork server of its bot."""
        bot = start.launch.bot
        with self._table.lock:
            server = self._current
            process = server.fork(bot, bot_process.main, (start, control, bot_pipes))
            return process, server.server_of(bot)

    async def _end_unused(self) -> None:
        """End the replaced fork servers that have no bots any more."""
        for process in [item for item in self._replaced if not item.processes.bots]:
            self._replaced.remove(process)
            await self._end(process)
            log.debug("The fork server of the earlier bot files has ended")

    async def _end(self, process: ForkServerProcess) -> None:
        """End a fork server, with its bots and with what a bot file started at import."""
        process.kill()
        await asyncio.to_thread(process.processes.wait)
        process.close()
        await self.kill_orphans()
