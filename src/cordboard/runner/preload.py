"""Import Pipecat and the bot files, so that a bot process starts in milliseconds.

The standard library's fork server (``multiprocessing.forkserver``) imports this module before it serves;
the work happens at import. Four processes take part::

    runner ── preloader (executes this module) ─┬─ importer of a bot ── its fork server ── bot processes
                                                └─ importer of another bot ── ...

The preloader imports Pipecat and waits; ``bot_importer`` describes the others. A fork server returns from this
import and serves on the socket that it has put in the place of the standard library's.
"""

import functools
import gc
import importlib
import os
import signal
import socket
import stat
import sys
import warnings
from types import FrameType
from typing import Final

from cordboard import emit
from cordboard.emit.bridges import loguru_bridge
from cordboard.environment import (
    forget_preload_environment,
    preload_arguments,
    preload_bots,
    preload_landlock,
    preload_runner,
)
from cordboard.processes import adopt_orphans, die_with_parent, kill_children
from cordboard.runner.bot_importer import BotImporters
from cordboard.runner.landlock import confine
from cordboard.runner.pipes import RUNNER_ENDED

# The standard library passes descriptors with small numbers: the first free ones of the runner at its start.
_INHERITED_MAX: Final = 1024

# Every bot process needs these modules, or each in a peer-to-peer room, even if its bot file does not import
# them.
_MODULES: Final = (
    "aiortc",
    "multiprocessing.popen_forkserver",  # a forked process imports it to read its arguments
    "pipecat.audio.vad.silero",
    "pipecat.pipeline.worker",
    "pipecat.runner.types",
    "pipecat.transports.smallwebrtc.request_handler",
    "pipecat.transports.smallwebrtc.transport",
    "pipecat.workers.runner",
    "uvicorn.lifespan.on",
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
    adopt_orphans()
    sys.path[:] = filter(None, sys.path)  # no file in the working directory hides a module
    stdlib_listener = _inherited_listener()
    listeners = _receive_descriptors()
    is_confined = preload_landlock()
    if is_confined:
        confine()
    emit.configure(service="bot", format="json", session_from_environment=False)
    for name in _MODULES:
        importlib.import_module(name)
    with loguru_bridge.unchanged():  # pipecatcloud replaces loguru's handlers when it is imported
        _import_pipecatcloud()
    _rehearse()
    emit.quiesce()  # the importers must not inherit a line that is half written
    _end_with_runner(runner_pid)
    bots, arguments = preload_bots(), preload_arguments()
    forget_preload_environment()
    gc.collect()
    gc.freeze()
    by_name = dict(zip(bots, listeners, strict=True))
    importers = BotImporters(bots, by_name, stdlib_listener, arguments, is_confined=is_confined)
    importers.run()


def _import_pipecatcloud() -> None:
    # Here and not above, like all modules that import Pipecat: it would log before the output is set up.
    from cordboard.runner.session_arguments import agent_module

    agent_module()


def _rehearse() -> None:
    from cordboard.runner.rehearsal import rehearse

    rehearse()


def _inherited_listener() -> int:
    """Return the descriptor of the listening socket that the standard library has passed to this process."""
    for number in range(3, _INHERITED_MAX):
        try:
            is_socket = stat.S_ISSOCK(os.fstat(number).st_mode)
        except OSError:
            continue
        if is_socket:
            with socket.socket(fileno=os.dup(number)) as copy:
                if copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    return number
    raise OSError("multiprocessing passed no listening socket to its fork server")


def _receive_descriptors() -> list[int]:
    """Receive the descriptors that the runner sends on the socket which is our standard input.

    The first one is the pipe whose lines the runner forwards; it becomes our standard output and standard
    error. The runner's own output is not for bots: a bot that could write there could write as the runner.

    Returns:
        The others: the listening sockets of the fork servers, in the order of the bots.
    """
    numbers: list[int] = []
    flags = socket.MSG_CMSG_CLOEXEC if sys.platform == "linux" else 0
    with socket.socket(fileno=os.dup(0)) as connection:
        while received := socket.recv_fds(connection, 1, 1, flags)[1]:
            numbers += received
    output, *listeners = numbers
    os.dup2(output, 1)
    os.dup2(output, 2)
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.close(null)
    os.close(output)
    for stream in (sys.stdout, sys.stderr):
        # Whole lines: several importers write to the pipe.
        stream.reconfigure(line_buffering=True, write_through=False)  # type: ignore[union-attr]
    return listeners


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
    preloader_pid: int, runner_pid: int, _number: int, _frame: FrameType | None
) -> None:
    # A fork inherits this handler until it sets its own, and must not end its siblings.
    if os.getpid() == preloader_pid and os.getppid() != runner_pid:
        kill_children()
        os._exit(1)


# Set by the runner for its fork server alone: other importers, such as tools, load nothing.
if preload_bots():
    _load()
