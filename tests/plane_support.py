"""The plane's processes as a user starts them: gateway, operator, runner, each by its own command.

Every process has its lines read, and is ended by its own pid; what a test forgets to end dies with
the test run.
"""

import contextlib
import functools
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from cordboard.processes import die_with_parent
from cordboard.up.embedded import EmbeddedServer
from cordboard.up.ports import free_port
from tests_support import until

SECRET = "plane-s3cret-of-tests"
HEADERS = {"Authorization": f"Bearer {SECRET}"}
STOP_S = 20
DATABASES = 1024  # more than a run has planes
_databases = itertools.count(1)


class ManyDatabases(EmbeddedServer):
    """The server that the tests of one worker share."""

    def _arguments(self) -> list[str]:
        return [*super()._arguments(), "--databases", str(DATABASES)]


def own_database(redis_url: str) -> str:
    """Return the URL of a database that no other test uses.

    A runner that was stopped stays registered until its lease ends, and would get the sessions of others.
    """
    return f"{redis_url.removesuffix('/0')}/{next(_databases)}"


@dataclass
class Part:
    """One process of the plane, and what it says."""

    name: str
    url: str
    process: subprocess.Popen[bytes]
    records: list[dict[str, Any]] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    reader: threading.Thread | None = None

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it as a fault would: at once, it alone."""
        self.signal(signal.SIGKILL)
        self.process.wait(STOP_S)

    def stop(self) -> int:
        """End it as a rollout would; return its exit status."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        return self.ended()

    def ended(self, timeout_s: float = STOP_S) -> int:
        """Wait for its end; return its exit status."""
        try:
            status = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        if self.reader is not None:
            self.reader.join(2)
        return status

    def events(self, session_id: str) -> list[str]:
        return [
            r["event"] for r in list(self.records) if r["sessionId"] == session_id and "event" in r
        ]

    def read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            try:
                self.records.append(json.loads(line))
            except ValueError:
                self.other.append(line.decode(errors="replace"))


@dataclass
class Processes:
    """Starts the plane's processes over one Redis, in a directory of their own."""

    directory: Path
    redis_url: str
    over: dict[str, str] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)

    def spawn(
        self,
        name: str,
        *words: str,
        port: int | None = None,
        env: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
        shell: str = "",
    ) -> Part:
        """Start ``cordboard NAME``; ``before`` stands before the module, as ``-c CODE`` does.

        With ``shell`` that script starts it, with Python's arguments as its own.
        """
        chosen = port or free_port()
        words = (name, "--port", str(chosen), *words)
        starter = ["sh", "-c", shell, "sh"] if shell else [sys.executable]
        process = subprocess.Popen(
            [*starter, *(before or ("-m", "cordboard")), *words],
            cwd=self.directory,
            env=self.environment() | dict(env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=functools.partial(die_with_parent, os.getpid()),  # noqa: PLW1509
        )
        part = Part(name, f"http://127.0.0.1:{chosen}", process)
        part.reader = threading.Thread(target=part.read, daemon=True)
        part.reader.start()
        self.parts.append(part)
        return part

    def environment(self) -> dict[str, str]:
        """Nothing of the user's."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("CORDBOARD_", "BOT_", "LOG_", "PIPECAT_", "PYTEST_"))
        }
        kept |= {
            "HOME": str(self.directory),
            "XDG_STATE_HOME": str(self.directory / "state"),
            "REDIS_URL": self.redis_url,
            "BOT_CONTROL_SHARED_SECRET": SECRET,
            "LOG_FORMAT": "json",
            "CORDBOARD_OVERLOAD_LAG_MS": "0",  # whatever else this machine does
        }
        kept.pop("PYTHONDONTWRITEBYTECODE", None)
        return kept | self.over

    def stop(self) -> None:
        """End whatever still runs."""
        for part in self.parts:
            part.signal(signal.SIGCONT)
            part.signal(signal.SIGKILL)
        for part in self.parts:
            part.process.wait(STOP_S)


async def ready(*parts: Part, timeout_s: float = 40) -> None:
    """Wait until all of them take work."""
    async with aiohttp.ClientSession(headers=HEADERS) as client:
        for part in parts:
            await until(functools.partial(_is_ready, client, part), timeout_s)


async def _is_ready(client: aiohttp.ClientSession, part: Part) -> bool:
    assert part.alive, f"{part.name} ended: {part.records[-3:]} {part.other[-20:]}"
    try:
        async with client.get(f"{part.url}/readyz") as answer:
            return answer.status == 200
    except (aiohttp.ClientError, OSError):
        return False


async def ask(
    client: aiohttp.ClientSession, method: str, url: str, body: Any = None
) -> tuple[int, dict[str, Any]]:
    """Return status and JSON body of an answer."""
    async with client.request(method, url, json=body) as answer:
        return answer.status, await answer.json(content_type=None)


def is_running(pid: int) -> bool:
    """Say whether a process is there and no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def parent_of(pid: int) -> int:
    """Return the process that forked it."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def gone_within(pid: int, seconds: float) -> bool:
    """Wait until a process has gone; say whether it did in time."""
    return _true_within(lambda: not is_running(pid), seconds)


def _true_within(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
