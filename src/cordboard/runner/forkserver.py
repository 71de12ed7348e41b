"""The owner of the fork server: starts it, asks what it loaded, forks bots' processes from it.

Uses the standard library's fork server; a process that it forks has Pipecat and the bot imported.
The fork server ends when the runner ends, and each bot when the fork server ends, however they end.

What a bot had started and left behind becomes the fork server's child: whatever is a child there and
no bot is an orphan, and is ended. Not so what a bot file had started at import (see ``preload``), nor
what is our own child: a process that was there before the runner, by ``exec``, is not the bots'.
Only when the fork server has ended do its descendants come to us; what was our child before stays.
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
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from typing import Any, Final

from cordboard.contract.errors import BotFileError, CordboardError, NotReadyError
from cordboard.emit import get_logger, quiesce
from cordboard.environment import preload_bots, set_preload_environment, without_secrets
from cordboard.processes import END_S, adopt_orphans, children_of, kill, start_ticks
from cordboard.runner.bot_file import LOAD_TIMEOUT_S
from cordboard.runner.forkserver_output import ForkServerOutput
from cordboard.runner.pipes import LINE_MAX_BYTES, BotStart

FORKED_S: Final = 20.0
"""For a child that has its bot already: it takes milliseconds, on a busy machine seconds."""
LOOK_S: Final = 0.002
WATCH_S: Final = 0.25
GONE: Final = "The fork server of this runner has ended; another one is being started."
TOO_SLOW: Final = "Do what takes long in bot(), not at import; a runner waits no longer."
_PRELOAD: Final = "cordboard.runner.preload"

log = get_logger("forkserver")


@dataclass(slots=True)
class Child:
    """A bot's process, and our ends of its pipes."""

    process: Any
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    out: int
    err: int
    records: int
    forget: Callable[[int], None]

    @property
    def pid(self) -> int:
        """Its process id, which is its process group's too."""
        return int(self.process.pid)

    async def ended(self) -> int | None:
        """Wait for its end; return its exit status, negative for a signal. To be asked once.

        None when the fork server has ended, which tells the status, and every bot with it.
        """
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        loop.add_reader(self.process.sentinel, gone.set)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(self.process.sentinel)
        status: int | None
        try:
            status = forkserver.read_signed(self.process.sentinel)
        except (OSError, EOFError):
            status = None
        self.process.join()
        self.forget(self.pid)
        self.process.close()
        return status


class ForkServer:
    """The fork server with the bots loaded.

    Args:
        bots: Bot files by name.
        landlock: Whether the kernel is asked to confine them.

    Attributes:
        load_within_s: How long a bot's process may take until it has its bot.
    """

    def __init__(self, bots: Mapping[str, str], *, landlock: bool = True) -> None:
        self.bots = dict(bots)
        self._landlock = landlock
        self._imports: ForkServerOutput | None = None
        self._context = multiprocessing.get_context("forkserver")
        self._one_at_a_time = threading.Lock()
        self._bots: set[int] = set()
        self.load_within_s = FORKED_S
        self._server = 0
        self._not_theirs: set[tuple[int, int]] = set()
        self._door = -1

    def begin(self) -> None:
        """Start the fork server; it loads the bots while we do other things."""
        adopt_orphans()
        self._not_theirs = {(pid, start_ticks(pid)) for pid in children_of(os.getpid())}
        set_preload_environment(self.bots, landlock=self._landlock)
        self._context.set_forkserver_preload([_PRELOAD])
        self._launch()

    def wait(self) -> None:
        """Wait until the fork server has loaded the bots.

        Raises:
            BotFileError: A bot file cannot be loaded; says which, where and why.
            CordboardError: The fork server did not start.
        """
        report = self._ask_report()
        self.load_within_s = LOAD_TIMEOUT_S if report.threaded else FORKED_S
        if report.failures:
            self._settle()
        for message, hint in report.failures.values():
            raise BotFileError(message, hint=hint)
        if report.threaded:
            log.warning(
                "A bot file starts threads when it is imported, so each bot's process imports it "
                "for itself and starts more slowly",
                bots=list(self.bots),
            )
            self._check_in_a_child()
        self._server = report.server  # from here on what is its child and no bot is an orphan
        self._end_orphans()

    async def ended(self) -> None:
        """Wait until the fork server has ended, and with it all of its bots."""
        parent = _helpers()[0]
        while not _has_ended(parent):  # noqa: ASYNC110 - the kernel tells its end to no event loop
            await asyncio.sleep(WATCH_S)

    async def begin_again(self) -> None:
        """Start another fork server in place of the one there; return when it has the bots.

        Raises:
            CordboardError: As ``wait``.
        """
        kill(_helpers()[0])  # one that could not load them
        await self.ended()
        await self.end_orphans()  # what a bot file had started at import, too
        self._launch()
        await asyncio.to_thread(self.wait)

    async def fork(self, start: BotStart, lease_page: int) -> Child:
        """Fork a process for one session; it waits for its ``go``.

        Args:
            start: Which session, which bot.
            lease_page: The descriptor of the page that its fence looks at.

        Raises:
            NotReadyError: The fork server has ended.
        """
        ours, theirs = socket.socketpair()
        outputs = [os.pipe() for _ in range(3)]
        writers = [Connection(write, readable=False) for _, write in outputs]
        writers.append(Connection(os.dup(lease_page)))
        try:
            process = await asyncio.to_thread(self._start, start, theirs, *writers)
        except BaseException:
            ours.close()
            for read, _ in outputs:
                os.close(read)
            raise
        finally:
            theirs.close()
            for writer in writers:
                writer.close()
        ours.setblocking(False)
        reader, writer_stream = await asyncio.open_connection(sock=ours, limit=LINE_MAX_BYTES)
        out, err, records = (read for read, _ in outputs)
        return Child(process, reader, writer_stream, out, err, records, self._bots.discard)

    async def end_orphans(self) -> None:
        """End what bots that have ended had started; bounded."""
        await asyncio.to_thread(self._end_orphans)

    def _launch(self) -> None:
        """Start the fork server; to be called where nobody else reads our environment meanwhile."""
        with self._one_at_a_time, without_secrets():
            self._server = 0
            self._ensure_running()
            _keep_from_starting()

    def _settle(self) -> None:
        """Have what the fork server said before what we say of its end."""
        if self._imports is not None:
            self._imports.settle()

    def _ensure_running(self) -> None:
        """Start the fork server unless it runs, so that it leaves nothing on the disk however we end.

        Its socket has a name until it is bound; from then on we reach it by a descriptor, which is
        nobody's but ours.
        """
        if not hasattr(os, "O_PATH"):  # not on Linux: removed when we end in order
            forkserver.ensure_running()
            return
        server: Any = forkserver._forkserver  # noqa: SLF001
        if server._forkserver_pid is not None and not _has_ended(server._forkserver_pid):  # noqa: SLF001
            return
        options: Any = multiprocessing.process.current_process()._config  # type: ignore[attr-defined]  # noqa: SLF001
        with _short_directory() as directory:
            options["tempdir"] = directory
            self._imports = ForkServerOutput()
            try:
                with self._imports.as_standard_input():
                    forkserver.ensure_running()
            finally:
                del options["tempdir"]
            if self._door >= 0:
                os.close(self._door)
            self._door = os.open(server._forkserver_address, os.O_PATH | os.O_CLOEXEC)  # noqa: SLF001
        server._forkserver_address = f"/proc/self/fd/{self._door}"  # noqa: SLF001

    def _end_orphans(self) -> None:
        deadline = time.monotonic() + END_S
        while orphans := self._orphans():
            if time.monotonic() > deadline:
                log.warning("What a bot has started does not end", pids=sorted(orphans)[:20])
                return
            for pid in orphans:
                kill(pid)
            time.sleep(LOOK_S)

    def _orphans(self) -> set[int]:
        """Look at the fork server's children, and at ours when it has ended: at no other process."""
        with self._one_at_a_time:  # else one that is being forked would be taken for an orphan
            parent, tracker = _helpers()
            ours = children_of(os.getpid()) - {parent, tracker}
            for pid in ours:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
            known = {(pid, start_ticks(pid)) for pid in ours}
            if not _has_ended(parent):  # now, and so when we looked
                self._not_theirs = known
                # Its number may be another's by now if it has ended.
                serves = self._server in children_of(parent)
                return children_of(self._server) - self._bots if serves else set()
            return {pid for pid, _ in known - self._not_theirs}

    def _start(self, start: BotStart, control: socket.socket, *outputs: Connection) -> Any:
        from cordboard.runner import bot_process

        with self._one_at_a_time:
            if not self._server or _has_ended(_helpers()[0]):
                raise NotReadyError(GONE, retry_after_s=1)
            process = self._context.Process(
                target=bot_process.main,
                args=(start, control, *outputs),
                name="cordboard-bot",
                daemon=False,
            )
            try:
                process.start()
            except (OSError, EOFError) as error:  # it ends in this moment
                raise NotReadyError(GONE, retry_after_s=1) from error
            self._bots.add(process.pid or 0)
            # Else each later start, in its own thread, would look whether this one has ended, and
            # take away the status that `ended` waits for.
            multiprocessing.process._children.discard(process)  # type: ignore[attr-defined]  # noqa: SLF001
        return process

    def _ask_report(self) -> Any:
        found = self._call(_report)
        if found is None:
            self._settle()
            raise CordboardError(
                "The fork server ended before it had loaded the bot.",
                hint="A bot file that ends its process at import (os._exit, a crash in C) does that: "
                f"{', '.join(self.bots.values())}. Its last words, if any, are above.",
            )
        return found

    def _check_in_a_child(self) -> None:
        failure = self._call(_try_bots)
        if failure:
            self._settle()
            raise BotFileError(failure[0], hint=failure[1])

    def _too_slow(self) -> BotFileError:
        files = ", ".join(self.bots.values())
        return BotFileError(
            f"Bot file {files} was still being imported after {LOAD_TIMEOUT_S:.0f} s.",
            hint=TOO_SLOW,
        )

    def _call(self, function: Any) -> Any:
        """Return what a function gives in a process of its own, forked like a bot's."""
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=function, args=(theirs,), daemon=True)
        quiesce()
        give_up_at = time.monotonic() + LOAD_TIMEOUT_S
        try:
            with _ending_a_server_that_hangs():
                process.start()
            theirs.close()
            if not ours.poll(max(give_up_at - time.monotonic(), 0)):
                raise self._too_slow()
            return ours.recv()
        except (EOFError, ConnectionError):  # the fork server ended: a bot file can make it
            if time.monotonic() >= give_up_at:
                raise self._too_slow() from None
            return None
        finally:
            ours.close()
            if process.ident is not None:
                process.join(1)


@contextlib.contextmanager
def _ending_a_server_that_hangs() -> Iterator[None]:
    """End the fork server where the block lasts too long: it forks nothing before it has the bots."""
    timer = threading.Timer(LOAD_TIMEOUT_S, lambda: kill(_helpers()[0]))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextlib.contextmanager
def _short_directory() -> Iterator[str]:
    """Give a private directory under a short name: a socket's may have 107 bytes, and TMPDIR more."""
    with tempfile.TemporaryDirectory(prefix="cordboard-") as directory:
        descriptor = os.open(directory, os.O_PATH | os.O_CLOEXEC)
        try:
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)


def _keep_from_starting() -> None:
    """Let the standard library not start its processes again by itself.

    It does so before each fork when one has been killed, and that one would have our environment.
    """
    helpers: tuple[Any, ...] = (forkserver._forkserver, resource_tracker._resource_tracker)  # noqa: SLF001
    for helper in helpers:
        helper.ensure_running = lambda: None


def _helpers() -> tuple[int, int]:
    """Return the processes that the standard library has started: fork server, resource tracker."""
    server: Any = forkserver._forkserver  # noqa: SLF001
    tracker: Any = resource_tracker._resource_tracker  # noqa: SLF001
    return server._forkserver_pid or 0, tracker._pid or 0  # noqa: SLF001


def _has_ended(pid: int) -> bool:
    """Return whether a child has ended; whoever waits for it can do so still."""
    if not pid:
        return True
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _report(answer: Connection) -> None:
    from cordboard.runner import preload

    _tell(answer, preload.report())


def _try_bots(answer: Connection) -> None:
    from cordboard.runner import preload

    failure = None
    try:
        for name in preload_bots():
            preload.bot_named(name)
    except BotFileError as error:
        failure = (error.message, error.hint)
    _tell(answer, failure)


def _tell(answer: Connection, value: Any) -> None:
    with contextlib.suppress(OSError):  # a runner stopped in mid-start asks no more
        answer.send(value)
