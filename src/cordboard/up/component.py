"""One part of `cordboard up`: a child process whose every line is kept and shown."""

import asyncio
import contextlib
import functools
import os
import re
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from cordboard.emit import get_logger
from cordboard.processes import die_with_parent

LINE_MAX_BYTES: Final = 1024 * 1024
LAST_WORDS: Final = 20

Speak = Callable[[str, bytes], None]

log = get_logger("up")


@dataclass(slots=True)
class Part:
    """A child process of ours.

    Attributes:
        name: The service.
        words: Its command line after ``cordboard``.
        url: Where it answers.
        speak: Takes the part's name and each line that it prints.
    """

    name: str
    words: Sequence[str]
    url: str
    environment: Mapping[str, str]
    speak: Speak
    process: asyncio.subprocess.Process | None = None
    last_words: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_WORDS))
    _reader: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the process; it dies with us, however we die."""
        self.last_words.clear()
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "cordboard",
            *self.words,
            env=self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=LINE_MAX_BYTES,
            # Its own session: a Ctrl-C is for us, and we stop the parts in order.
            start_new_session=True,
            preexec_fn=functools.partial(die_with_parent, os.getpid()),
        )
        self._reader = asyncio.create_task(self._read(), name=f"read {self.name}")

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.returncode is None

    async def ended(self) -> int:
        """Wait for the process's end and its last line; return its exit status."""
        assert self.process is not None  # noqa: S101 - started before
        status = await self.process.wait()
        if self._reader is not None:
            # A grandchild may still hold the pipe: its lines are not worth waiting for.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._reader), 1.0)
        return status

    async def stop(self, grace_s: float) -> None:
        """End it: SIGTERM, and SIGKILL to all of its group after the grace."""
        if not self.alive:
            return
        self.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.ended(), grace_s)
        except TimeoutError:
            log.warning(
                "A part did not stop in time and was killed", part=self.name, grace_s=grace_s
            )
            self.signal(signal.SIGKILL, group=True)
            await self.ended()

    def signal(self, number: signal.Signals, *, group: bool = False) -> None:
        """Send a signal to the process, or to all of its group."""
        if self.process is None or self.process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.process.pid, number)

    async def ready(self) -> bool:
        """Say whether it answers that it is ready."""
        found = re.fullmatch(r"http://([^:/]+):(\d+)", self.url)
        assert found is not None  # noqa: S101 - we made the URL
        host, port = found.groups()
        try:
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(
                    f"GET /readyz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
                )
                status = await reader.readline()
                writer.close()
        except (OSError, TimeoutError):
            return False
        return b" 200 " in status

    async def _read(self) -> None:
        assert self.process is not None  # noqa: S101 - started before
        assert self.process.stdout is not None  # noqa: S101 - asked for
        while True:
            try:
                line = await self.process.stdout.readline()
            except ValueError:  # over LINE_MAX_BYTES: that much is dropped, reading goes on
                log.warning("A line was too long and was dropped", part=self.name)
                continue
            if not line:
                return
            text = line.strip()
            if text:
                if not text.startswith(b"{"):
                    self.last_words.append(text.decode(errors="replace"))
                self.speak(self.name, text)
