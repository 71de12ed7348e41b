"""Child processes that never outlive this one, with the means of Linux: prctl(2) and /proc.

After `adopt_orphans`, the kernel makes every orphaned descendant a child of this process, even one that
left its process group and session. So a list of this process's children finds all of them.
"""

import contextlib
import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from typing import Final

# A killed process ends within milliseconds, unless the kernel blocks it (a dead network disk).
END_S: Final = 1.0
_POLL_S: Final = 0.002
_SIGNAL_NAMES: Final = {item.value: item.name for item in signal.Signals}
_PR_SET_PDEATHSIG: Final = 1  # prctl(2)
_PR_SET_DUMPABLE: Final = 4
_PR_SET_CHILD_SUBREAPER: Final = 36
# Positions in /proc/PID/stat after the name: fields 4 and 22 of proc(5).
_STAT_PARENT: Final = 1
_STAT_START_TIME: Final = 19
_LIBC: Final = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(parent_pid: int | None = None, *, number: int = signal.SIGKILL) -> None:
    """Make the kernel signal this process when its parent ends, in whatever way the parent ends.

    Call it as ``preexec_fn`` or at the start of a forked child. On systems other than Linux it does
    nothing.

    Args:
        parent_pid: The expected parent. If it has ended already, this process is signalled at once.
        number: The signal.
    """
    if _LIBC is None:
        return
    _LIBC.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if parent_pid is not None and os.getppid() != parent_pid:
        os.kill(os.getpid(), number)


def disable_inspection() -> None:
    """Prevent other processes of this user from reading this one's memory, environment and open files.

    Forked children inherit this; executed programs do not, so each process of Cordboard calls it first.
    Root with CAP_SYS_PTRACE can still read. On systems other than Linux it does nothing.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def enable_inspection() -> None:
    """Let this process be inspected again, after one that has called `disable_inspection` forked it."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def describe_exit_status(status: int) -> str:
    """Return how a process ended, in words.

    Args:
        status: Its exit status, negative for a signal.
    """
    if status >= 0:
        return f"exit status {status}"
    return f"killed by {_SIGNAL_NAMES.get(-status, f'signal {-status}')}"


class SessionPriority:
    """The share of the processor that the processes of a kernel session get: sched(7), autogroups.

    Unlike a nice value it can be raised again without a privilege. Where the kernel does not schedule by
    sessions (other systems; control groups with processor shares) it has no effect.

    Args:
        pid: The process that leads the session. Create this object before the process forbids its inspection.
    """

    def __init__(self, pid: int) -> None:
        self._file: int | None = None
        with contextlib.suppress(OSError):
            self._file = os.open(f"/proc/{pid}/autogroup", os.O_WRONLY | os.O_CLOEXEC)

    def set_nice(self, value: int) -> None:
        """Set the nice value of the session, from 0 (the usual one) to 19."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # the session has ended
                os.write(self._file, str(value).encode())

    def close(self) -> None:
        """Let the session keep its value."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def adopt_orphans() -> None:
    """Make orphaned descendants children of this process instead of init.

    On systems other than Linux it does nothing.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children_of(pid: int) -> set[int]:
    """Return the ids of the children of the process ``pid``; none on systems other than Linux."""
    children: set[int] = set()
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):  # the thread ended
                text = (task / "children").read_text(encoding="ascii")
                children |= {int(word) for word in text.split()}
    return children


def descendants_of(pid: int, limit: int) -> set[int]:
    """Return the ids of the descendants of a process, one generation after the other.

    Args:
        pid: The process.
        limit: The number of descendants from which no further generation is read.
    """
    descendants: set[int] = set()
    generation = {pid}
    while generation and len(descendants) <= limit:
        generation = {child for parent in generation for child in children_of(parent)} - descendants
        descendants |= generation
    return descendants


def start_ticks(pid: int) -> int:
    """Return when the process ``pid`` started, in clock ticks since boot; 0 if unknown.

    With the id this identifies a process: a later process with the same id started later.
    """
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(_stat_fields(pid)[_STAT_START_TIME])
    return 0


def is_descendant_of(pid: int, ancestor: int) -> bool:
    """Return whether a process is ``ancestor`` or one of its descendants.

    Args:
        pid: The process. If it, or a process between the two, has ended, the result is True: callers
            refuse secrets to descendants.
        ancestor: The other process.
    """
    while pid != ancestor:
        if pid <= 1:
            return False
        try:
            pid = int(_stat_fields(pid)[_STAT_PARENT])
        except OSError:
            return True
    return True


def _stat_fields(pid: int) -> list[str]:
    """Return the fields of proc(5)'s ``stat`` after the name, which may contain any character.

    Raises:
        OSError: There is no such process.
    """
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return stat.rpartition(")")[2].split()


def kill(pid: int) -> None:
    """Kill the process ``pid`` if it exists."""
    if pid <= 0:  # kill(2) would signal a group, or all processes
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def signal_group(pid: int, number: signal.Signals, *, may_lack_group: bool) -> None:
    """Send a signal to the process group that the process ``pid`` leads.

    Args:
        pid: The process; 0 for none.
        number: The signal.
        may_lack_group: Whether the process may not have made its group yet; then it alone gets the signal.
    """
    if pid <= 0:  # killpg(2) would signal the group of this process
        return
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        if may_lack_group:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def kill_children(within_s: float = END_S) -> None:
    """Kill all children of this process, and the orphans that they leave to it (`adopt_orphans`).

    Args:
        within_s: Seconds after which it returns, even if a child still exists.
    """
    deadline = time.monotonic() + within_s
    while (children := children_of(os.getpid())) and time.monotonic() < deadline:
        for pid in children:
            kill(pid)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(_POLL_S)
