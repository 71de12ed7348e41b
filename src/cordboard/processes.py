"""Child processes that never outlive us: the kernel ends them when their parent ends.

What a child has started, and what has left its group and session, comes to us as an orphan when we
have asked for that: so it can be found by a look at our own children alone.
"""

import contextlib
import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from typing import Final

END_S: Final = 1.0  # for one that the kernel holds up (a dead network disk) nobody is kept waiting
_LOOK_S: Final = 0.002
_SIGNAL_NAMES: Final = {item.value: item.name for item in signal.Signals}
_PR_SET_PDEATHSIG: Final = 1  # prctl(2)
_PR_SET_DUMPABLE: Final = 4
_PR_SET_CHILD_SUBREAPER: Final = 36
_LIBC: Final = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(parent_pid: int | None = None, *, number: int = signal.SIGKILL) -> None:
    """Ask the kernel to signal this process when its parent ends, however the parent ends.

    For use as ``preexec_fn`` or at the start of a forked child. Elsewhere than on Linux it does
    nothing.

    Args:
        parent_pid: The parent that is expected; when it has ended already, this process ends too.
        number: The signal.
    """
    if _LIBC is None:
        return
    _LIBC.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if parent_pid is not None and os.getppid() != parent_pid:
        os.kill(os.getpid(), number)


def disable_inspection() -> None:
    """Let no other process of this user read this process's memory, environment or open files.

    An executed program starts without it, so each process of Cordboard calls this first. Forked
    children inherit it. Root with CAP_SYS_PTRACE can still read. On other systems than Linux it does
    nothing.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def describe_exit_status(status: int) -> str:
    """Say how a process ended, from its exit status, which is negative for a signal."""
    if status >= 0:
        return f"exit status {status}"
    return f"killed by {_SIGNAL_NAMES.get(-status, f'signal {-status}')}"


def adopt_orphans() -> None:
    """Ask the kernel that orphans among our descendants become our children, not init's.

    Elsewhere than on Linux it does nothing.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children_of(pid: int) -> set[int]:
    """Return the children of a process; none where the kernel does not tell."""
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - names are all we need
            with contextlib.suppress(OSError):
                told = Path(f"/proc/{pid}/task/{thread}/children").read_text(encoding="ascii")
                found |= {int(word) for word in told.split()}
    return found


def descendants_of(pid: int, most: int) -> set[int]:
    """Return the descendants of a process: at most ``most``, completed to a whole generation."""
    found: set[int] = set()
    newest = {pid}
    while newest and len(found) <= most:
        newest = {child for parent in newest for child in children_of(parent)} - found
        found |= newest
    return found


def start_ticks(pid: int) -> int:
    """Return when a process started, in ticks since boot: a later one of its id started later.

    0 if there is no such process, or if the kernel does not say.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        told = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return int(told.rpartition(")")[2].split()[19])
    return 0


def is_descendant_of(pid: int, ancestor: int) -> bool:
    """Return whether a process is ``ancestor`` or its descendant; one that has ended counts as one."""
    while pid != ancestor:
        if pid <= 1:
            return False
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return True
        pid = int(stat.rpartition(")")[2].split()[1])
    return True


def kill(pid: int) -> None:
    """End a process at once, if it is there."""
    if pid <= 0:  # a group, or all
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def kill_children(within_s: float = END_S) -> None:
    """End all our children, and all that they leave behind, in a process that adopts orphans."""
    deadline = time.monotonic() + within_s
    while (found := children_of(os.getpid())) and time.monotonic() < deadline:
        for pid in found:
            kill(pid)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(_LOOK_S)
