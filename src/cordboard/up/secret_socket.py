"""Gives the secrets of a running `up` to commands of its user, and to no bot.

Bots are processes of the same user, so permissions of files do not keep them out. The kernel says
which process asks (SO_PEERCRED), and that one is told nothing when it is below us: the parts, the
bots, and whatever they have started, which cannot leave our tree (see ``adopt_orphans``).
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

_CREDENTIALS: Final = struct.Struct("3i")  # ucred: pid, uid, gid
_SO_PEERPIDFD: Final = 77  # since Linux 6.5

log = get_logger("up")


class SecretSocket:
    """A socket in the private directory; an event loop calls ``answer`` when a process connects.

    Args:
        path: Its name.
        secrets: The answer.
    """

    def __init__(self, path: Path, secrets: Mapping[str, str]) -> None:
        self._path = path
        self._answer = json.dumps(dict(secrets)).encode()
        self._listener = _bound(path)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when a process connects."""
        return self._listener.fileno()

    def answer(self) -> None:
        """Answer the next process that has connected, if it may know the secrets."""
        with contextlib.suppress(OSError), self._listener.accept()[0] as peer:
            if _may_know(peer):
                peer.setblocking(False)  # it fits into the socket's buffer
                peer.sendall(self._answer)
            else:
                log.warning("A process asked for the control secret that must not have it")

    def close(self) -> None:
        """Close the socket and remove its name."""
        self._listener.close()
        self._path.unlink(missing_ok=True)


def _bound(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)  # left by a killed `up`: this one holds the lock of the state file
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    directory = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
    try:
        # Through the descriptor: a socket's name is limited to 107 bytes, a directory's is not.
        listener.bind(f"/proc/self/fd/{directory}/{path.name}")
    finally:
        os.close(directory)
    path.chmod(0o600)
    listener.listen()
    return listener


def _may_know(peer: socket.socket) -> bool:
    pid, uid, _ = _CREDENTIALS.unpack(
        peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    )
    if uid != os.getuid() or is_descendant_of(pid, os.getpid()):
        return False
    return not _has_ended(peer)


def _has_ended(peer: socket.socket) -> bool:
    """Return whether the process that connected has ended: another may have its id by now."""
    try:
        descriptor = peer.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError:  # an older kernel
        return False
    try:
        return bool(select.select([descriptor], [], [], 0)[0])
    finally:
        os.close(descriptor)


class Orphans:
    """Reaps orphans that this process has adopted."""

    def __init__(self) -> None:
        self._ours = children_of(os.getpid())  # children of a shell that executed this process
        self._seen: set[int] = set()

    def reap(self, started: set[int]) -> None:
        """Reap those that have ended and are not among ``started``.

        One that is seen for the first time is left for the next call: it may be one that has just
        been started and is not known yet.
        """
        found = children_of(os.getpid()) - started - self._ours
        for pid in found & self._seen:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        self._seen = found
