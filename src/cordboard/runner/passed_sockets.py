"""Pass connections from the runner to a bot process, over a separate socket pair.

Each message is one byte with two descriptors (``SCM_RIGHTS``): the connection, and a file with what the runner
has read of it. The control channel carries JSON lines and cannot carry descriptors as well.
"""

import os
import socket
import tempfile
from typing import Final

from cordboard.contract.errors import ConflictError, NotReadyError

_MESSAGE: Final = b"c"
_DESCRIPTORS: Final = 2
# So that a program that the bot starts meanwhile does not inherit the connection; Linux only.
_FLAGS: Final = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


def send_connection(pair: socket.socket | None, descriptor: int, received: bytes) -> None:
    """Send a connection to the bot process. The caller still has to close its own descriptor.

    Args:
        pair: The runner's end of the socket pair, not blocking; None if there is no bot process.
        descriptor: The connection.
        received: What has been read of it.

    Raises:
        ConflictError: The bot process has ended.
        NotReadyError: It takes no connections at the moment.
    """
    if pair is None:
        raise ConflictError("The bot process has ended.")
    try:
        with open(_memory_file(), "wb", buffering=0) as file:
            file.write(received)
            socket.send_fds(pair, [_MESSAGE], [descriptor, file.fileno()])
    except BlockingIOError as error:  # some 270 connections wait in the buffer of the pair
        raise NotReadyError(
            "The bot process takes no connections at the moment.", retry_after_s=1
        ) from error
    except ConnectionError as error:
        raise ConflictError("The bot process has ended.") from error
    except OSError as error:  # too many descriptors
        raise NotReadyError("The connection cannot be passed.", retry_after_s=1) from error


def receive_connection(pair: socket.socket) -> tuple[socket.socket, bytes] | None:
    """Return a connection that the runner has sent, and what it has read of it.

    Args:
        pair: The bot process's end of the socket pair, not blocking.

    Returns:
        None if the connection did not arrive, as this process has too many open files.

    Raises:
        BlockingIOError: There is none at the moment.
        EOFError: The runner has closed the pair.
    """
    message, descriptors, _, _ = socket.recv_fds(pair, len(_MESSAGE), _DESCRIPTORS, _FLAGS)
    if not message:
        raise EOFError
    if len(descriptors) != _DESCRIPTORS:
        for descriptor in descriptors:
            os.close(descriptor)
        return None
    connection, file = descriptors
    try:
        received = os.pread(file, os.fstat(file).st_size, 0)
    finally:
        os.close(file)
    made = socket.socket(fileno=connection)
    made.setblocking(False)
    return made, received


def _memory_file() -> int:
    """Return a new file that has no name: in memory where the system has such files."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("cordboard-head", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile(buffering=0) as file:
        return os.dup(file.fileno())
