"""`cordboard up` as a user runs it, with a state directory and ports of its own."""

import asyncio
import contextlib
import ctypes
import functools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cordboard.processes import die_with_parent

FREE_PORTS = [
    part
    for name in ("gateway", "runner", "operator", "interface", "edge")
    for part in (f"--{name}-port", "0")
]
# A second runner would load Pipecat beside each of these tests, on the same cores.
ONE_RUNNER = ["--runners", "1"]
# The built-in bot, which takes a silent network for a caller's end after 6 s instead of 30.
QUICK_PARROT = """
import aioice.ice
from cordboard.bots.parrot import bot
aioice.ice.CONSENT_INTERVAL = 1
"""
READY_TIMEOUT_S = 60
STOP_TIMEOUT_S = 40


def environment(state: Path, **over: str) -> dict[str, str]:
    """Return this process's environment without the user's settings, and a state directory."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CORDBOARD_", "BOT_", "LOG_", "OTEL_", "KUBE"))
        and name not in {"REDIS_URL", "PYTHONDONTWRITEBYTECODE"}
    }
    # Whatever else this machine does, runners take calls.
    return {**kept, "XDG_STATE_HOME": str(state), "CORDBOARD_OVERLOAD_LAG_MS": "0", **over}


@dataclass
class Up:
    """A running `cordboard up`."""

    process: asyncio.subprocess.Process
    state: Path
    lines: list[str] = field(default_factory=list)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    addresses: dict[str, str] = field(default_factory=dict)
    reader: "asyncio.Task[None] | None" = None

    @property
    def records(self) -> list[dict[str, Any]]:
        """All lines so far that are records."""
        found = []
        for line in self.lines:
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return found

    def events(self, session_id: str) -> list[str]:
        """The events of a session so far, by time: `up` reads its parts in no order."""
        return [
            record["event"]
            for record in sorted(self.records, key=itemgetter("timestamp"))
            if record["sessionId"] == session_id and "event" in record
        ]

    async def read(self) -> None:
        """Keep every line that is printed."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode())
            if b'"event":"up.ready"' in line:
                self.addresses = json.loads(line)["meta"]
                self.ready.set()

    async def until_ready(self) -> None:
        """Wait for `up.ready`."""
        waits = [asyncio.ensure_future(self.ready.wait()), asyncio.ensure_future(self._ended())]
        await asyncio.wait(waits, timeout=READY_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        assert self.ready.is_set(), "".join(self.lines[-30:])

    async def _ended(self) -> None:
        await self.process.wait()

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, wait for the end; return the exit status."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        status = await asyncio.wait_for(self.process.wait(), STOP_TIMEOUT_S)
        if self.reader is not None:
            await asyncio.wait_for(self.reader, 5)
        return status

    def cordboard(self, *words: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command of ours against it."""
        return subprocess.run(
            [sys.executable, "-m", "cordboard", *words],
            env=environment(self.state),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )


# CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_PERFMON: with them root
# looks into every process, whatever that has asked for. A container has none but the first.
SEEING_CAPABILITIES = (1, 2, 19, 21, 38)
PR_CAPBSET_DROP = 24


def see_no_others() -> None:
    """Give up, for what is executed next, what root has over any other user's processes."""
    for number in SEEING_CAPABILITIES:
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, number, 0, 0, 0)


def _begin(tests: int, *, blind: bool = False) -> None:
    """End with the tests, when they are killed; and heed Ctrl-C, which those in a background ignore."""
    if blind:
        see_no_others()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    die_with_parent(tests, number=signal.SIGTERM)


@contextlib.asynccontextmanager
async def started(
    state: Path,
    words: Sequence[str] = (),
    *,
    ports: Sequence[str] = FREE_PORTS,
    blind: bool = False,
    python: str = sys.executable,
    **over: str,
) -> AsyncIterator[Up]:
    """Start `cordboard up` for a block; do not wait until it is ready.

    ``blind``: as root of a container, who cannot look into all processes. ``python``: the interpreter, of an
    environment that has Cordboard.
    """
    process = await asyncio.create_subprocess_exec(
        *(python, "-m", "cordboard", "up", *ports, *ONE_RUNNER, *words),
        env=environment(state, **over),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=1024 * 1024,
        start_new_session=True,
        preexec_fn=functools.partial(_begin, os.getpid(), blind=blind),
    )
    running = Up(process, state)
    running.reader = asyncio.create_task(running.read())
    try:
        yield running
    finally:
        if process.returncode is None:
            with contextlib.suppress(TimeoutError):
                await running.stop()
        if process.returncode is None:
            process.kill()
            await process.wait()


def write_parrot(directory: Path) -> str:
    """Write the built-in bot's impatient sister; return her file."""
    file = directory / "quick_parrot.py"
    file.write_text(QUICK_PARROT)
    return str(file)


@contextlib.asynccontextmanager
async def ready(
    state: Path, *words: str, blind: bool = False, python: str = sys.executable, **over: str
) -> AsyncIterator[Up]:
    """Run `cordboard up` for a block."""
    async with started(state, words, blind=blind, python=python, **over) as running:
        await running.until_ready()
        yield running


def listens(url: str) -> bool:
    """Return whether anything listens where a URL says."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.connect(parts.path)
            return True
        return False
    with contextlib.suppress(OSError), socket.create_connection((parts.hostname, parts.port), 1):
        return True
    return False


def processes_of(state: Path) -> list[str]:
    """Return the command lines of live processes that were given a state directory."""
    needle = f"XDG_STATE_HOME={state}\0".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if needle in (folder / "environ").read_bytes() + b"\0":
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if words and int(folder.name) != os.getpid():
                    found.append(words)
    return found


def pid_of(up: Up, word: str) -> int:
    """Return the process of a component, by a word of its command line."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            status = (folder / "status").read_text()
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if f"PPid:\t{up.process.pid}\n" in status and f" {word} " in f"{words} ":
                return int(folder.name)
    raise AssertionError(f"no process with {word}")
