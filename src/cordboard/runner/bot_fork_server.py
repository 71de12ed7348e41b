"""The fork server of one bot as the runner reaches it: by a socket that leaves nothing on the disk."""

import atexit
import contextlib
import os
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class BotForkServer:
    """The fork server of one bot.

    Attributes:
        name: The bot's name.
        file: Its file.
        address: The path by which this process reaches the server's socket; empty before the first start.
        imports_in_child: Whether each bot process imports the bot file itself.
        has_readyz: Whether the bot file defines ``readyz()``.
        build: Hashes of the file and its package, and the version of Pipecat.
    """

    name: str
    file: str
    address: str = ""
    imports_in_child: bool = False
    has_readyz: bool = False
    build: dict[str, str] = field(default_factory=dict)
    _descriptor: int = -1

    def listen(self, directory: str, number: int) -> socket.socket:
        """Return a socket for the server.

        Args:
            directory: The path of a private directory, so that no other user can connect.
            number: The name of the socket in it.
        """
        listener = socket.socket(socket.AF_UNIX)
        self.address = f"{directory}/{number}"
        listener.bind(self.address)
        listener.listen()
        if hasattr(os, "O_PATH"):
            self._descriptor = os.open(self.address, os.O_PATH | os.O_CLOEXEC)
            self.address = f"/proc/self/fd/{self._descriptor}"
        return listener

    def close(self) -> None:
        """Release the descriptor of a server that has ended."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


@dataclass(frozen=True, slots=True)
class ServerSockets:
    """The listening sockets of fork servers that are to be started.

    Attributes:
        directory: A private directory for further sockets.
        listeners: Their descriptors, in the order of the servers.
    """

    directory: str
    listeners: list[int] = field(default_factory=list)


@contextlib.contextmanager
def open_sockets(servers: Iterable[BotForkServer]) -> Iterator[ServerSockets]:
    """Open a socket for each of `servers`; close them after the block, in which the servers receive them.

    On Linux they have a name only inside the block. From then on this process reaches them by descriptors, so
    that even a killed runner leaves no file behind. Elsewhere the names exist until this process exits.
    """
    with _private_directory() as directory, contextlib.ExitStack() as stack:
        sockets = ServerSockets(directory)
        for number, server in enumerate(servers):
            listener = stack.enter_context(server.listen(directory, number))
            sockets.listeners.append(listener.fileno())
        yield sockets


@contextlib.contextmanager
def _private_directory() -> Iterator[str]:
    """Yield a short path: that of a socket has at most 107 bytes, and ``TMPDIR`` may have more."""
    if not hasattr(os, "O_PATH"):  # not Linux
        directory = tempfile.mkdtemp(prefix="cordboard-")
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
        yield directory
        return
    with tempfile.TemporaryDirectory(prefix="cordboard-") as directory:
        descriptor = os.open(directory, os.O_PATH | os.O_CLOEXEC)
        try:
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
