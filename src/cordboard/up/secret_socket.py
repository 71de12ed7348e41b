"""Gives the secrets of a running ``up`` to commands of its user, and to no bot.

Bots are processes of the same user, so the permissions of files do not keep them out. The kernel
tells which process connects (SO_PEERCRED), and a descendant of this process gets nothing: those are
the components, the bots and everything that they have started, which cannot leave the tree of
processes (see ``adopt_orphans``).
"""

import contextlib
import json
import os
import select
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cordboard.emit import get_logger
from cordboard.processes import children_of, is_descendant_of

_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred: pid, uid, gid
_SO_PEERPIDFD: Final = 77  # since Linux 6.5

log = get_logger("up")


class SecretSocket:
    """A socket in the private directory; an event loop calls ``answer`` when a process connects.

    Args:
        path: The path of the socket.
        secrets: What an authorised process gets, as JSON.
    """

    def __init__(self, path: Path, secrets: Mapping[str, str]) -> None:
        self.path = path
        self._secrets = json.dumps(dict(secrets)).encode()
        self._listener = _listener_at(path)

    def fileno(self) -> int:
        """Return the file descriptor that becomes readable when a process connects."""
        return self._listener.fileno()

    def answer(self) -> None:
        """Accept the next connection; send the secrets if the process may have them."""
        with contextlib.suppress(OSError), self._listener.accept()[0] as peer:
            if _is_authorized(peer):
                peer.setblocking(False)  # the answer fits into the socket's buffer
                peer.sendall(self._secrets)
            else:
                log.warning("A process that may not have the control secret has requested it")

    def close(self) -> None:
        """Close the socket and remove it from the directory."""
        self._listener.close()
        self.path.unlink(missing_ok=True)


def _listener_at(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)  # of a killed `up`: this one holds the lock of the state file
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    directory = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
    try:
        # By descriptor: the name of a socket is limited to 107 bytes, a directory's is not.
        listener.bind(f"/proc/self/fd/{directory}/{path.name}")
    finally:
        os.close(directory)
    path.chmod(0o600)
    listener.listen()
    return listener


def _is_authorized(peer: socket.socket) -> bool:
    pid, uid, _ = _CREDENTIALS.unpack(
        peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    )
    if uid != os.getuid() or is_descendant_of(pid, os.getpid()):
        return False
    # Last: only now is it certain that the ancestors above were those of this process.
    return not _has_ended(peer)


def _has_ended(peer: socket.socket) -> bool:
    """Return whether the process that connected has ended, so that its id may be another's now."""
    try:
        descriptor = peer.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError:  # an older kernel
        return False
    try:
        return bool(select.select([descriptor], [], [], 0)[0])
    finally:
        os.close(descriptor)


class Orphans:
    """Reaps the orphans that this process has adopted."""

    def __init__(self) -> None:
        # Children of a shell that executed this process: they are not ours to reap.
        self._inherited = children_of(os.getpid())
        self._seen: set[int] = set()

    def reap(self, own_children: set[int]) -> None:
        """Reap the adopted processes that have ended.

        A process that is seen for the first time is left for the next call: it may have just been
        started, and not be among the known ones yet.

        Args:
            own_children: The ids of the processes that this one has started itself.
        """
        adopted = children_of(os.getpid()) - own_children - self._inherited
        for pid in adopted & self._seen:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        self._seen = adopted
