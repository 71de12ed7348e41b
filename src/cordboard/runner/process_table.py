"""The bot processes of one runner, and the orphans that they leave behind.

A fork server adopts the orphans among its descendants (``PR_SET_CHILD_SUBREAPER``). So each child of a
fork server is either a bot process or an orphan of a bot that has ended; this is decided from the list of
its children alone, without looking at any other process of the machine.

Two kinds of processes must survive the end of a session. What a bot file started at import is a child of
the fork server's parent (see ``bot_importer``). What was a child of this process before the runner started, such
as a sidecar from before an ``exec``, is recorded by ``record_existing``. When a fork server has ended, its
descendants become children of this process, and only those not recorded are orphans.
"""

import contextlib
import os
import threading
import time
from dataclasses import dataclass, field
from typing import Final

from cordboard.emit import get_logger
from cordboard.processes import END_S, children_of, kill, start_ticks
from cordboard.runner.stdlib_internals import resource_tracker_pid

# A killed process disappears within a millisecond; a session's end waits for this poll.
_POLL_S: Final = 0.002

_PIDS_LOGGED: Final = 20  # a bot can leave thousands, and a log line has a limit

log = get_logger("forkserver")


@dataclass(slots=True)
class ServerProcesses:
    """The processes of one fork server.

    Attributes:
        parent_pid: The process that imported Pipecat, a child of this process.
        server_pids: The processes whose children are bots and orphans, one for each bot, with the parent of
            each; empty until the bot files are loaded.
        bots: The ids of the bot processes that have not been waited for.
    """

    parent_pid: int
    server_pids: dict[int, int] = field(default_factory=dict)
    bots: set[int] = field(default_factory=set)
    _has_ended: bool = False

    @property
    def has_ended(self) -> bool:
        """Whether the fork server has ended, and its bots with it."""
        return self._has_ended or has_ended(self.parent_pid)

    def orphans(self) -> set[int]:
        """Return the children of the serving processes that are no bots."""
        # The id of a process that has ended may belong to another one by now.
        importers = set() if self.has_ended else children_of(self.parent_pid)
        children: set[int] = set()
        for server_pid, importer_pid in self.server_pids.items():
            if importer_pid in importers and server_pid in children_of(importer_pid):
                children |= children_of(server_pid)
        return children - self.bots

    def wait(self) -> None:
        """Wait until the fork server has ended."""
        if self.parent_pid and not self._has_ended:
            os.waitid(os.P_PID, self.parent_pid, os.WEXITED | os.WNOWAIT)

    def reap(self) -> None:
        """Collect the exit status of the fork server, which has ended."""
        if not self._has_ended:
            self._has_ended = True
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.parent_pid, 0)


class ProcessTable:
    """Distinguishes the bot processes of a runner from orphans.

    Attributes:
        lock: Held while a process is forked and while orphans are listed: a process that is just being
            forked is not among the bots yet and would count as an orphan.
        servers: The fork servers of this runner.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.servers: list[ServerProcesses] = []
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
            ended_before = [server for server in self.servers if server.has_ended]
            parents = {server.parent_pid for server in self.servers}
            own_children = children_of(os.getpid()) - parents - {resource_tracker_pid()}
            for pid in own_children:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
            current = {(pid, start_ticks(pid)) for pid in own_children}
            orphans = {pid for server in self.servers for pid in server.orphans()}
            # Checked after the children were listed: a server that is alive now was alive then, so none of
            # them can be its orphan.
            if not any(server.has_ended for server in self.servers):
                self._existing = current
                return orphans
            left = {pid for pid, _ in current - self._existing}
            if not left:  # nothing is left of the servers whose end came before the list
                for server in ended_before:
                    server.reap()
                    self.servers.remove(server)
            return orphans | left


def has_ended(pid: int) -> bool:
    """Return whether the child `pid` of this process has ended, without collecting its exit status."""
    if not pid:
        return True
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
