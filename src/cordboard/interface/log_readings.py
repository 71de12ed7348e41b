"""Readings of sessions from the logs: each in a process of its own, a few at a time.

A reading may search gigabytes, so it must not hold up this process, in which calls are accepted. The process
(``log_reader.py``) uses the reader of `cordboard logs`. It writes server-sent events, which pass
through here as they are.
"""

import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from cordboard.contract.errors import CordboardError
from cordboard.environment import SESSION_SECRETS, child_environment
from cordboard.interface.log_sources import LogEnvironment, SourceState
from cordboard.web.rate_limits import TooManyRequestsError

ReportForm = Literal["report.html", "report.txt", "bundle.zip"]

LINES_MAX: Final = 5_000
"""Lines that a page shows; the report has all of them."""
FOLLOWED_S: Final = 3600.0
"""How long a page follows a session; longer calls are followed again after a reload."""
REPORT_S: Final = 120.0
"""How long a report may take."""
CHECK_S: Final = 20.0
"""How long all log sources together may take to answer a check."""
_RETRY_S: Final = 10


class ReportFailedError(CordboardError):
    """A report could not be written."""

    status = 503
    code = "report_failed"
    title = "No report"


@dataclass(frozen=True, slots=True)
class WrittenReport:
    """A report in a folder of its own.

    Attributes:
        path: The file.
    """

    path: Path

    def remove(self) -> None:
        """Remove the report with its folder."""
        shutil.rmtree(self.path.parent, ignore_errors=True)


class LogReadings:
    """Starts readings, and limits them.

    Args:
        environment: Where lines are read from.
        limit: The number of readings at a time.

    Attributes:
        environment: Where lines are read from.
        closing: Set when the server stops: a check ends then.
    """

    def __init__(self, environment: LogEnvironment, limit: int) -> None:
        self.environment = environment
        self._limit = limit
        self._open = 0
        self.closing = asyncio.Event()

    def __len__(self) -> int:
        """Return the number of readings that run."""
        return self._open

    @asynccontextmanager
    async def lines(
        self, session_id: str, *, follow_from: str | None = None
    ) -> AsyncIterator[asyncio.StreamReader]:
        """Read the lines of a session; the stream has server-sent events.

        Args:
            session_id: The session.
            follow_from: The time from which a live session is followed; None for one that has ended.

        Raises:
            TooManyRequestsError: Too many readings run.
        """
        task = {
            "session": session_id,
            "follow_from": follow_from,
            "lines_max": LINES_MAX,
            "seconds_max": FOLLOWED_S,
        }
        async with self._process(task) as process:
            if process.stdout is not None:  # it is a pipe
                yield process.stdout

    async def report(self, session_id: str, form: ReportForm) -> WrittenReport:
        """Write a report of a session; the caller removes it.

        Args:
            session_id: The session.
            form: Its form.

        Raises:
            ReportFailedError: It could not be written.
            TooManyRequestsError: Too many readings run.
        """
        written = WrittenReport(Path(tempfile.mkdtemp(prefix="cordboard-report-")) / form)
        task = {"session": session_id, "path": str(written.path)}
        try:
            async with self._process(task) as process, asyncio.timeout(REPORT_S):
                said, _ = await process.communicate()
        except (TimeoutError, BaseException) as error:
            written.remove()
            if isinstance(error, TimeoutError):
                raise ReportFailedError(
                    "The report took too long.", hint="Use the command below the session."
                ) from error
            raise
        if process.returncode or not written.path.exists():
            written.remove()
            raise ReportFailedError(
                said.decode("utf-8", "replace").strip() or "The logs could not be read.",
                hint="The health page shows the log sources.",
            )
        return written

    async def checks(self) -> list[SourceState]:
        """Ask each log source that is not a folder; it is no reading, and does not count as one.

        Raises:
            ReportFailedError: They did not answer in time, or the environment is not described well.
        """
        process = await self._start({"check": True})
        answer = asyncio.create_task(process.communicate())
        closing = asyncio.create_task(self.closing.wait())
        try:
            await asyncio.wait(
                {answer, closing}, timeout=CHECK_S, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            closing.cancel()
            await _end(process)
        said, _ = await answer
        if process.returncode:
            words = said.decode("utf-8", "replace").strip()
            raise ReportFailedError(words or "The log sources did not answer in time.")
        return [SourceState(**state) for state in json.loads(said)]

    @asynccontextmanager
    async def _process(self, task: dict[str, Any]) -> AsyncIterator[asyncio.subprocess.Process]:
        if self._open >= self._limit:
            raise TooManyRequestsError(
                "Too many logs are being read at once.",
                hint="Close other pages of sessions, or try again in a moment.",
                retry_after_s=_RETRY_S,
            )
        self._open += 1
        process: asyncio.subprocess.Process | None = None
        try:
            process = await self._start(task)
            yield process
        finally:
            # Before the first await: a page that is closed may interrupt that.
            self._open -= 1
            if process is not None:
                await _end(process)

    async def _start(self, task: dict[str, Any]) -> asyncio.subprocess.Process:
        config = self.environment.settings.config_file
        task = task | {
            "environment": self.environment.name,
            "log_folder": self.environment.settings.log_folder,
            "config": str(config) if config else None,
            "parent": os.getpid(),
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "cordboard.interface.log_reader",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=child_environment(**dict.fromkeys(SESSION_SECRETS)),
        )
        if process.stdin is not None:
            process.stdin.write(json.dumps(task).encode() + b"\n")
            with suppress(ConnectionError):
                await process.stdin.drain()
        return process


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
