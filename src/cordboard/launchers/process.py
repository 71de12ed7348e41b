"""Cold runners as processes of this machine: the local equivalent of Kubernetes Jobs."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from cordboard.context import Context
from cordboard.context.carrier import inject_environment
from cordboard.context.launch import context_of
from cordboard.contract.errors import LaunchError
from cordboard.contract.launch import Launch
from cordboard.emit import forward_line, get_logger
from cordboard.launchers import ColdRunnerEnd, LaunchStatus

# Seconds between SIGTERM and SIGKILL: a runner ends its bot within a few seconds.
STOP_GRACE_S: Final = 10.0

# The longest line that is forwarded. Records have at most 16 KiB; only raw output is longer, and it is kept
# in memory until its newline.
LINE_MAX_BYTES: Final = 1024 * 1024

# An ended process is remembered for this long, so that its operator can see that it ended.
ENDED_KEPT_S: Final = 300.0

log = get_logger("launcher")


class ProcessLauncher:
    """Starts ``cordboard runner --once`` with the session in its environment.

    A process outlives its operator, as a Job does. A runner that loses Redis for good ends by itself.

    Args:
        environment: Returns the environment that a process inherits; called at each start.
        max_runners: How many cold runners may live at once.
        arguments: Further arguments of ``cordboard runner``.
        bots: The bots that these runners have; None if they are unknown.
        stop_grace_s: Seconds between SIGTERM and SIGKILL.
        line_max_bytes: The longest line of a runner that is forwarded.
    """

    def __init__(
        self,
        environment: Callable[[], Mapping[str, str]],
        *,
        max_runners: int,
        arguments: Sequence[str] = (),
        bots: Collection[str] | None = None,
        stop_grace_s: float = STOP_GRACE_S,
        line_max_bytes: int = LINE_MAX_BYTES,
    ) -> None:
        self.max_runners = max_runners
        self.bots = None if bots is None else frozenset(bots)
        self._environment = environment
        self._arguments = tuple(arguments)
        self._stop_grace_s = stop_grace_s
        self._line_max_bytes = line_max_bytes
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._followers: set[asyncio.Task[None]] = set()
        self._ends: asyncio.Queue[ColdRunnerEnd] = asyncio.Queue()

    def job_name(self, launch: Launch) -> str:
        """Return the name of the runner of ``launch``: the same for the same session and epoch."""
        return f"cold-{launch.session_id}-{launch.epoch}"

    async def start(self, name: str, launch: Launch) -> None:
        """Start a runner for one session.

        Args:
            name: The name that ``job_name`` returned.
            launch: The session that the runner serves.

        Raises:
            LaunchError: The process cannot be started.
        """
        environment = dict(self._environment())
        context = context_of(launch)
        inject_environment(context, environment)
        environment["JOB_ID"] = name
        command = [sys.executable, "-m", "cordboard", "runner", "--once", "--port", "0"]
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                *self._arguments,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                limit=self._line_max_bytes,
                start_new_session=True,  # Ctrl-C at the operator's terminal does not reach it
            )
        except OSError as error:
            raise LaunchError(f"A cold runner cannot be started: {error}.") from error
        self._processes[name] = process
        follower = asyncio.create_task(self._follow(name, process, context), name=f"follow {name}")
        self._followers.add(follower)
        follower.add_done_callback(self._followers.discard)

    async def status(self, name: str) -> LaunchStatus:
        """Return whether the process of the start ``name`` lives."""
        process = self._processes.get(name)
        if process is None:
            return "unknown"
        return "alive" if process.returncode is None else "ended"

    async def next_end(self) -> ColdRunnerEnd:
        """Wait until one of the processes ends, and return it."""
        return await self._ends.get()

    async def stop(self, name: str) -> None:
        """Send SIGTERM to the process of the start ``name``, and SIGKILL after the grace period."""
        process = self._processes.get(name)
        if process is None or process.returncode is not None:
            return
        _signal_group(process, signal.SIGTERM)
        try:
            async with asyncio.timeout(self._stop_grace_s):
                await process.wait()
        except TimeoutError:
            _signal_group(process, signal.SIGKILL)
            await process.wait()

    async def reserve(self) -> bool:
        """Return whether another process may be started now."""
        alive = sum(process.returncode is None for process in self._processes.values())
        return alive < self.max_runners

    async def close(self) -> None:
        """Stop forwarding the processes' output. The processes continue."""
        for follower in self._followers:
            follower.cancel()
        await asyncio.gather(*self._followers, return_exceptions=True)

    async def _follow(
        self, name: str, process: asyncio.subprocess.Process, context: Context
    ) -> None:
        """Forward the process's output as records of its session, then reap the process."""
        if process.stdout is not None:
            await self._forward(name, process.stdout, context)
        await process.wait()
        if context.session_id and context.epoch:
            self._ends.put_nowait(ColdRunnerEnd(context.session_id, context.epoch))
        log.debug("A cold runner has ended", job=name, status=process.returncode)
        await asyncio.sleep(ENDED_KEPT_S)
        self._processes.pop(name, None)

    async def _forward(self, name: str, output: asyncio.StreamReader, context: Context) -> None:
        while True:
            try:
                line = await output.readline()
            except ValueError:  # longer than the limit: that much is dropped, reading continues
                log.warning(
                    "A line of a cold runner was too long and was dropped",
                    job=name,
                    limit=self._line_max_bytes,
                )
                continue
            if not line:
                return
            if line.strip():
                forward_line(line, context=context, service="runner")


def _signal_group(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Send a signal to the process and to everything that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
