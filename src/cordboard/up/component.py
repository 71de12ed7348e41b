"""One component that ``cordboard up`` runs: a child process whose every line is kept and shown."""

import asyncio
import contextlib
import functools
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from cordboard.emit import get_logger
from cordboard.processes import SessionPriority, die_with_parent
from cordboard.up.ports import HOST
from cordboard.up.start_plan import service_of

# Far above the 16 KiB of a log line; only raw output can be longer. It bounds the memory per line.
LINE_MAX_BYTES: Final = 1024 * 1024
# Enough for the reason why a component did not start, with its hint.
LAST_LINES: Final = 20
_READY_TIMEOUT_S: Final = 2.0
# Pauses between two looks at a component that starts in the background.
_BACKGROUND_POLL_S: Final = 0.25
# A tenth of the processor time that another process gets, if both want all of it: sched(7).
_BACKGROUND_NICE: Final = 10
# A grandchild may hold the pipe open after the component has ended; its lines are not waited for.
_LAST_LINE_WAIT_S: Final = 1.0

OnLine = Callable[[str, bytes], None]

log = get_logger("up")


class Component:
    """A child process, and its output.

    Args:
        name: Its name, such as ``gateway`` or ``runner-2``.
        arguments: Its command line after ``cordboard``.
        port: The port on which it listens.
        environment: Its environment.
        on_line: Called with the service and each line that the process writes.
        line_max_bytes: A longer line is dropped.

    Attributes:
        url: The base URL of the component.
        process: The child process; None before the first start.
        last_lines: The last lines that are not log lines, such as an error message.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        port: int,
        environment: Mapping[str, str],
        on_line: OnLine,
        line_max_bytes: int = LINE_MAX_BYTES,
    ) -> None:
        self.name = name
        self.arguments = arguments
        self.port = port
        self.url = f"http://{HOST}:{port}"
        self.environment = environment
        self.process: asyncio.subprocess.Process | None = None
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._on_line = on_line
        self._line_max_bytes = line_max_bytes
        self._reader: asyncio.Task[None] | None = None
        self._background_start: asyncio.Task[None] | None = None

    async def start(self, *, in_background: bool = False) -> None:
        """Start the process. The kernel kills it if this process ends, in whatever way.

        Args:
            in_background: Whether other processes come first until it is ready.
        """
        self.last_lines.clear()
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "cordboard",
            *self.arguments,
            env=self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=self._line_max_bytes,
            # A session of its own: Ctrl-C signals only `up`, which stops the components in order.
            start_new_session=True,
            preexec_fn=functools.partial(die_with_parent, os.getpid()),
        )
        if self.process.stdout is not None:
            self._reader = asyncio.create_task(
                self._read(self.process.stdout), name=f"read {self.name}"
            )
        if in_background:
            self._background_start = asyncio.create_task(
                self._stay_in_background(SessionPriority(self.process.pid)), name=self.name
            )

    async def _stay_in_background(self, priority: SessionPriority) -> None:
        """Give the process a low priority until it is ready, or ends."""
        priority.set_nice(_BACKGROUND_NICE)
        try:
            await self.becomes_ready()
        finally:
            priority.set_nice(0)
            priority.close()

    @property
    def is_in_background(self) -> bool:
        """Whether other processes come before it, because it is not ready yet."""
        return self._background_start is not None and not self._background_start.done()

    def come_forward(self) -> None:
        """Let no other process come first any more, although it is not ready."""
        if self._background_start is not None:
            self._background_start.cancel()

    @property
    def is_running(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.returncode is None

    async def becomes_ready(self) -> bool:
        """Wait until the component is ready; return False if it ends before."""
        while self.is_running:
            if await self.is_ready():
                return True
            await asyncio.sleep(_BACKGROUND_POLL_S)
        return False

    async def wait(self) -> int:
        """Wait for the end of the process and its last line; return the exit status.

        Raises:
            RuntimeError: The component was never started.
        """
        if self.process is None:
            raise RuntimeError(f"The {self.name} has not been started.")
        status = await self.process.wait()
        if self._reader is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_LINE_WAIT_S):
                    await asyncio.shield(self._reader)
        return status

    async def stop(self, grace_s: float) -> None:
        """Send SIGTERM; after `grace_s` seconds kill the process and its process group."""
        if not self.is_running:
            return
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_s):
                await self.wait()
        except TimeoutError:
            log.warning(
                "A component did not stop in time and was killed",
                component=self.name,
                grace_s=grace_s,
            )
            self.signal(signal.SIGKILL, group=True)
            await self.wait()

    def signal(self, number: signal.Signals, *, group: bool = False) -> None:
        """Send a signal if the process runs.

        Args:
            number: The signal.
            group: Whether to send it to the whole process group.
        """
        if self.process is None or self.process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):  # it ends at this moment
            (os.killpg if group else os.kill)(self.process.pid, number)

    async def is_ready(self) -> bool:
        """Return whether the component answers ``GET /readyz`` with status 200."""
        # By hand: a client library would take longer to import than the components to start.
        request = f"GET /readyz HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
        try:
            async with asyncio.timeout(_READY_TIMEOUT_S):
                reader, writer = await asyncio.open_connection(HOST, self.port)
                writer.write(request.encode())
                status_line = await reader.readline()
                writer.close()
        except (OSError, TimeoutError):
            return False
        return b" 200 " in status_line

    async def _read(self, output: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await output.readline()
            except ValueError:  # longer than the limit: that part is dropped, and reading goes on
                log.warning("A line was too long and was dropped", component=self.name)
                continue
            if not line:
                return
            text = line.strip()
            if text:
                if not text.startswith(b"{"):
                    self.last_lines.append(text.decode(errors="replace"))
                self._on_line(service_of(self.name), text)
