"""Find what a bot file has opened that processes forked from this one must not share.

Two processes that read one connection get each other's answers; two that use one event loop or one SQLite
file damage it; threads do not exist in a forked process, but the locks that they held do.
"""

import contextlib
import fcntl
import gc
import io
import os
import socket
import stat
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# How long the kernel may still list a thread that has been joined.
THREAD_EXIT_S: Final = 0.005

# Devices without a state; a graphics card, for example, has one for each process.
_SAFE_DEVICES: Final = ("null", "zero", "full", "random", "urandom", "tty", "pts/", "shm/")

_ANONYMOUS: Final = {"eventpoll": "event loop", "io_uring": "event loop"}
_TASKS: Final = Path("/proc/self/task")
_DESCRIPTORS: Final = Path("/proc/self/fd")


@dataclass(frozen=True, slots=True)
class ProcessState:
    """The threads and the open files of this process at one moment.

    Attributes:
        threads: The number of threads, including those of C libraries where visible.
        names: The names of Python's threads.
        files: What each descriptor refers to, as Linux names it; empty on systems without ``/proc``.
    """

    threads: int
    names: frozenset[str]
    files: dict[int, str]

    @classmethod
    def now(cls) -> "ProcessState":
        """Return the present state."""
        time.sleep(THREAD_EXIT_S)
        try:
            threads = len(list(_TASKS.iterdir()))
        except OSError:
            threads = threading.active_count()
        names = frozenset(thread.name for thread in threading.enumerate())
        return cls(threads, names, _open_files())


def opened_since(before: ProcessState) -> list[str]:
    """Return a description of each thing that this process has opened since `before` and must not share."""
    now = ProcessState.now()
    opened = []
    if now.threads > before.threads or now.names > before.names:
        names = ", ".join(sorted(now.names - before.names)) or "of a C library"
        opened.append(f"{max(now.threads - before.threads, 1)} thread(s) ({names})")
    # The names of pipes and sockets are unique: one that existed before has only been duplicated.
    known = {name for name in before.files.values() if name.startswith(("pipe:", "socket:"))}
    new = {
        number: name
        for number, name in now.files.items()
        if before.files.get(number) != name and name not in known
    }
    is_loop = any("[eventpoll]" in name for name in new.values())
    for number, name in sorted(new.items()):
        description = _description(number, name)
        # The two sockets by which an event loop wakes itself are part of the loop, which is named.
        if description and not (is_loop and description == "a socket pair"):
            opened.append(f"{description} (descriptor {number})")
    return opened


def flush_files() -> None:
    """Write what is buffered for open files; otherwise each forked process would write it once more."""
    # By exact type: an `isinstance` of any object can call code of a bot file.
    for kinds in ((io.TextIOWrapper,), (io.BufferedWriter, io.BufferedRandom)):
        for item in gc.get_objects():
            if type(item) in kinds:
                with contextlib.suppress(Exception):  # closed, or its other end is
                    item.flush()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def _open_files() -> dict[int, str]:
    files = {}
    with contextlib.suppress(OSError):
        for entry in _DESCRIPTORS.iterdir():
            with contextlib.suppress(OSError):  # the descriptor of this list
                files[int(entry.name)] = str(entry.readlink())
    return files


def _description(number: int, name: str) -> str:
    """Return what the descriptor `number` is if forked processes must not share it; else an empty text."""
    kind, _, _ = name.partition(":[")
    if kind == "socket":
        return _describe_socket(number)
    if kind == "pipe":
        return "a pipe"
    if kind.startswith("anon_inode:") or name.startswith("anon_inode:"):
        object_name = name.removeprefix("anon_inode:").strip("[]")
        return f"an {_ANONYMOUS.get(object_name, object_name)}"
    try:
        mode = os.fstat(number).st_mode
    except OSError:
        return ""
    if stat.S_ISCHR(mode):
        is_safe = name.removeprefix("/dev/").startswith(_SAFE_DEVICES)
        return "" if is_safe else f"the device {name}"
    # What is read and written by position, such as an SQLite file. Processes may share a file that they
    # only append to.
    flags = fcntl.fcntl(number, fcntl.F_GETFL) & (os.O_ACCMODE | os.O_APPEND)
    is_memory = name.startswith(("/memfd:", "/dev/"))  # shared on purpose
    is_positioned = flags == os.O_RDWR and not is_memory
    return (
        f"the file {name}, to be read and written" if stat.S_ISREG(mode) and is_positioned else ""
    )


def _describe_socket(number: int) -> str:
    try:
        copy = socket.socket(fileno=os.dup(number))
    except OSError:
        return "a socket"
    with copy:
        kind = {socket.SOCK_STREAM: "TCP", socket.SOCK_DGRAM: "UDP"}.get(copy.type, "")
        own, peer = "", ""
        with contextlib.suppress(OSError):
            own = _address(copy.getsockname())
        with contextlib.suppress(OSError):
            peer = _address(copy.getpeername())
        if copy.family == socket.AF_UNIX:
            kind = "Unix"
            if not own and not peer:
                return "a socket pair"
        if peer:
            return f"a {kind} connection to {peer}"
        return f"a {kind} socket on {own}" if own else f"a {kind} socket"


def _address(address: object) -> str:
    """Return a socket's `address` as text, as ``HOST:PORT`` where it has a port."""
    if isinstance(address, tuple):
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    text = address.decode(errors="replace") if isinstance(address, bytes) else str(address)
    return text.replace("\0", "@")
