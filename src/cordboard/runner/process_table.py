"""The bot processes of one runner, and the orphans that they leave behind.

The fork server adopts the orphans among its descendants (``PR_SET_CHILD_SUBREAPER``). So each child of the
fork server is either a bot process or an orphan of a bot that has ended; this is decided from the list of
its children alone, without looking at any other process of the machine.

Two kinds of processes must survive the end of a session. What a bot file started at import is a child of
the fork server's parent (see ``preload``). What was a child of this process before the runner started, such
as a sidecar from before an ``exec``, is recorded by ``record_existing``. When the fork server has ended, its
descendants become children of this process, and only those not recorded are orphans.
"""

import contextlib
import os
import threading
import time
from typing import Final

from cordboard.emit import get_logger
from cordboard.processes import END_S, children_of, kill, start_ticks
from cordboard.runner.stdlib_internals import fork_server_pid, resource_tracker_pid

# A killed process disappears within a millisecond; a session's end waits for this poll.
_POLL_S: Final = 0.002

_PIDS_LOGGED: Final = 20  # a bot can leave thousands, and a log line has a limit

log = get_logger("forkserver")


class ProcessTable:
    """Distinguishes the bot processes of a runner from orphans.

    Attributes:
        lock: Held while a process is forked and while orphans are listed: a process that is just being
            forked is not in `bots` yet and would count as an orphan.
        bots: The ids of the bot processes that have not been waited for.
        server_pid: The process whose children are bots and orphans; 0 until the bot files are loaded.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.bots: set[int] = set()
        self.server_pid = 0
        # The system reuses process ids, so each is stored with its start time.
        self._existing: set[tuple[int, int]] = set()

    def record_existing(self) -> None:
        """Record the present children of this process, which are never orphans of a bot."""
        self._existing = {(pid, start_ticks(pid)) for pid in children_of(os.getpid())}

    def kill_orphans(self) -> None:
        """Kill the orphans, and their descendants, which become orphans in turn.

        A process that the kernel cannot end, for example on a dead network disk, is given up after a while.
        """
        deadline = time.monotonic() + END_S
        while orphans := self._orphans():
            if time.monotonic() > deadline:
                pids = sorted(orphans)[:_PIDS_LOGGED]
                log.warning("Processes that a bot started do not end", pids=pids)
                return
            for pid in orphans:
                kill(pid)
            time.sleep(_POLL_S)

    def _orphans(self) -> set[int]:
        with self.lock:
            parent = fork_server_pid()
            own_children = children_of(os.getpid()) - {parent, resource_tracker_pid()}
            for pid in own_children:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
            current = {(pid, start_ticks(pid)) for pid in own_children}
            # Checked after the children were listed: a server that is alive now was alive then, so none of
            # them can be its orphan.
            if not has_ended(parent):
                self._existing = current
                # The id of a server that has ended may belong to another process by now.
                is_serving = self.server_pid in children_of(parent)
                return children_of(self.server_pid) - self.bots if is_serving else set()
            return {pid for pid, _ in current - self._existing}


def has_ended(pid: int) -> bool:
    """Return whether the child `pid` of this process has ended, without collecting its exit status."""
    if not pid:
        return True
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
