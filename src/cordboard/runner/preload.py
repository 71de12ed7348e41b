"""Import Pipecat and the bot files in the fork server, so that a bot process starts in milliseconds.

The standard library's fork server (``multiprocessing.forkserver``) imports this module before it serves;
the work happens at import. Three processes take part::

    runner ── importer (executes this module) ── fork server (a fork of it) ── bot processes

The importer stays the parent of what a bot file starts at import, such as a speech server that all bots use.
The fork server has no children except bot processes and processes that bots have left behind, so that it is
clear which processes to kill when a session ends.

A process must not be forked while its threads hold locks. If a bot file starts threads at import, the importer
executes itself again (same process id, same descriptors) without the bot files, and each bot process imports
its own. The idle thread pools of numpy and onnxruntime, which Pipecat brings, survive a fork.
"""

import contextlib
import functools
import gc
import importlib
import os
import signal
import stat
import sys
import threading
import time
import warnings
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from cordboard import emit
from cordboard.environment import (
    PRELOAD_BARE,
    is_inspection_allowed,
    preload_bare,
    preload_bots,
    preload_landlock,
    preload_runner,
)
from cordboard.processes import (
    adopt_orphans,
    die_with_parent,
    disable_inspection,
    kill_children,
)
from cordboard.runner import loaded_bots
from cordboard.runner.landlock import confine
from cordboard.runner.pipes import RUNNER_ENDED

# A bound above the descriptors that the importer may have inherited; closing unused numbers is one call.
DESCRIPTORS_MAX: Final = 65_536

# Half of the kernel's scale: a machine without memory ends a bot, not the runner of all of them.
OOM_SCORE: Final = 500

# How long the kernel may still list a thread that has been joined.
THREAD_EXIT_S: Final = 0.005

# Every bot process needs these modules, or each in a peer-to-peer room, even if its bot file does not import
# them.
_MODULES: Final = (
    "aiortc",
    "pipecat.audio.vad.silero",
    "pipecat.pipeline.worker",
    "pipecat.runner.types",
    "pipecat.transports.smallwebrtc.request_handler",
    "pipecat.transports.smallwebrtc.transport",
    "pipecat.workers.runner",
    "uvicorn.protocols.http.httptools_impl",
    "uvicorn.protocols.websockets.websockets_sansio_impl",
    "cordboard.runner.bot_process",
    "cordboard.runner.bot_run",
    "cordboard.runner.pipeline_observers",
)


def _load() -> None:
    # The standard library's fork server detects the runner's end from a pipe. Each bot process holds the write
    # end of that pipe as well, so a bot that hangs would keep the fork server alive. The kernel's signal does
    # not depend on the bots.
    runner_pid = preload_runner() or os.getppid()
    die_with_parent(runner_pid)
    adopt_orphans()  # even a daemon that a bot file starts at import belongs to this runner
    _redirect_output()
    if preload_landlock():
        confine()
    emit.configure(service="bot", format="json", session_from_environment=False)
    for name in _MODULES:
        importlib.import_module(name)
    emit.quiesce()  # the logger's own thread must not be counted
    threads_before = _count_threads()
    if not preload_bare():
        loaded_bots.load_all()
        emit.quiesce()
        has_new_threads = _count_threads() > threads_before or threading.active_count() > 1
        if has_new_threads and not loaded_bots.FAILURES:
            _execute_again_without_bots()
    emit.quiesce()
    _end_with_runner(runner_pid)
    gc.collect()
    # So that a bot's garbage collector does not write to, and thereby copy, the pages it shares with us.
    gc.freeze()
    _fork_server()


def _redirect_output() -> None:
    """Write to the pipe that the runner passed as standard input, and whose lines it forwards.

    The runner's own output is not for bots: a bot that could write there could write as the runner.
    """
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        os.dup2(0, 1)
        os.dup2(0, 2)
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        os.dup2(null, 0)
        os.close(null)


def _execute_again_without_bots() -> NoReturn:
    os.environ[PRELOAD_BARE] = "1"
    kill_children()  # what the bot files started; the import in each bot process starts its own
    sys.stdout.flush()
    os.execv(sys.executable, sys.orig_argv)


def _end_with_runner(runner_pid: int) -> None:
    """Arrange that this process ends its descendants and itself when the runner ends.

    While the runner lives it ends the orphans of bots; once it has been killed, this process does.
    """
    # A signal to the runner's process group must not kill the process that cleans up after the runner.
    os.setpgid(0, 0)
    handler = functools.partial(_exit_if_runner_ended, os.getpid(), runner_pid)
    signal.signal(RUNNER_ENDED, handler)
    die_with_parent(runner_pid, number=RUNNER_ENDED)
    # The standard library's fork server warns when it reaps a child that it did not fork: an orphan.
    warnings.filterwarnings("ignore", message="forkserver: waitpid returned unexpected pid")


def _exit_if_runner_ended(
    importer_pid: int, runner_pid: int, _number: int, _frame: FrameType | None
) -> None:
    # A fork inherits this handler until it sets its own, and must not end its siblings.
    if os.getpid() == importer_pid and os.getppid() != runner_pid:
        kill_children()
        os._exit(1)


def _fork_server() -> None:
    """Fork the process that serves, and return in it. The importer waits for its end and exits."""
    importer_pid = os.getpid()
    with warnings.catch_warnings():
        # Python 3.12 warns of a fork in a process with threads: the idle pools, see above.
        warnings.simplefilter("ignore", DeprecationWarning)
        server_pid = os.fork()
    if not server_pid:
        _set_oom_score_of_children()  # before inspection is disabled, which makes the file root's
    if not is_inspection_allowed():
        disable_inspection()
    if server_pid:
        _exit_after(server_pid)
    signal.signal(RUNNER_ENDED, signal.SIG_DFL)
    die_with_parent(importer_pid)
    adopt_orphans()


def _set_oom_score_of_children() -> None:
    """Let each child start with the score by which a machine without memory ends it first.

    Neither the child nor the runner could write the score later: the file of a process that does not permit
    inspection belongs to root. So this process raises its own score for the moment of each fork. Where the
    score cannot be written at all, a child has the fork server's.
    """
    try:
        descriptor = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
        own_score = int(os.read(descriptor, 16))
    except OSError:
        return
    score = _OomScore(descriptor)
    os.register_at_fork(
        before=functools.partial(score.write, max(OOM_SCORE, own_score)),
        after_in_parent=functools.partial(score.write, own_score),
        after_in_child=score.close,
    )


class _OomScore:
    """The open file of the fork server's score.

    Args:
        descriptor: The file.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def write(self, value: int) -> None:
        """Set the score to `value`, unless the file is closed."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.pwrite(self._descriptor, str(value).encode(), 0)

    def close(self) -> None:
        """Close the file in a bot process: it is still the fork server's."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _exit_after(server_pid: int) -> NoReturn:
    """Reap children until the fork server has ended; then end what the bot files started, and exit."""
    os.closerange(
        3, DESCRIPTORS_MAX
    )  # its socket too: a request to a server that has ended must fail
    pid, status = 0, 0
    while pid != server_pid:
        pid, status = os.waitpid(-1, 0)
    kill_children()
    os._exit(0 if status == 0 else 1)


def _count_threads() -> int:
    """Return the number of threads of this process, including those of C libraries where visible."""
    time.sleep(THREAD_EXIT_S)
    try:
        return len(list(Path("/proc/self/task").iterdir()))
    except OSError:
        return threading.active_count()


# Set by the runner for its fork server alone: other importers, such as tools, load nothing.
if preload_bots():
    _load()
