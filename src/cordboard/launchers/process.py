"""Cold runners as processes of this machine: what a cluster's Job is on a laptop."""

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
from cordboard.launchers import Status

STOP_GRACE_S: Final = 10.0
LINE_MAX_BYTES: Final = 1024 * 1024

log = get_logger("launcher")


class ProcessLauncher:
    """Starts ``cordboard runner --once`` with the session in its environment.

    A process outlives its operator, as a Job does; one whose store is gone ends by itself.

    Args:
        environment: What the processes inherit; called at each start.
        most: How many may live at once.
        arguments: Further arguments of ``cordboard runner``.
        bots: The bots that these runners have; None if they are not known.
    """

    def __init__(
        self,
        environment: Callable[[], Mapping[str, str]],
        *,
        most: int,
        arguments: Sequence[str] = (),
        bots: Collection[str] | None = None,
    ) -> None:
        self._environment = environment
        self.most = most
        self._arguments = tuple(arguments)
        self.bots = None if bots is None else frozenset(bots)
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._readers: set[asyncio.Task[None]] = set()

    def name(self, launch: Launch) -> str:
        """Return the name of this launch's start."""
        return f"cold-{launch.session_id}-{launch.epoch}"

    async def launch(self, name: str, launch: Launch) -> None:
        """Start a runner for one session.

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
                limit=LINE_MAX_BYTES,
                start_new_session=True,
            )
        except OSError as error:
            raise LaunchError(f"A cold runner cannot be started: {error}.") from error
        self._processes[name] = process
        self._keep(asyncio.create_task(self._follow(name, process, context), name=f"follow {name}"))

    async def status(self, name: str) -> Status:
        """Say whether it lives."""
        process = self._processes.get(name)
        if process is None:
            return "unknown"
        return "alive" if process.returncode is None else "ended"

    async def stop(self, name: str) -> None:
        """End it: SIGTERM, and SIGKILL after a grace."""
        process = self._processes.get(name)
        if process is None or process.returncode is not None:
            return
        _signal(process, signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), STOP_GRACE_S)
        except TimeoutError:
            _signal(process, signal.SIGKILL)
            await process.wait()

    async def room_for_more(self) -> bool:
        """Say whether one more may be started now."""
        return sum(item.returncode is None for item in self._processes.values()) < self.most

    async def close(self) -> None:
        """Stop reading what the processes print; they go on."""
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)

    def _keep(self, reader: asyncio.Task[None]) -> None:
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)

    async def _follow(
        self, name: str, process: asyncio.subprocess.Process, context: Context
    ) -> None:
        """Hand on what the process prints, as the records that they are; then reap it."""
        assert process.stdout is not None  # noqa: S101 - asked for above
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:  # over LINE_MAX_BYTES: that much is dropped, reading goes on
                log.warning("A line of a cold runner was too long", job=name, limit=LINE_MAX_BYTES)
                continue
            if not line:
                break
            if line.strip():
                forward_line(line, context=context, service="runner")
        await process.wait()
        log.debug("A cold runner has ended", job=name, status=process.returncode)
        # Kept for a while: an operator that looks at its session must see that it ended.
        await asyncio.sleep(300)
        self._processes.pop(name, None)


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
