"""What the fork server imports once, so that each bot's process starts in a few milliseconds.

Imported by the standard library's fork server (``multiprocessing.forkserver``). A process in which
threads hold locks must not be forked: a bot file that starts threads at import makes this process
begin anew (``exec``, same descriptors) without the bot files, which each child then imports for
itself. The idle pools of numpy and onnxruntime, which Pipecat brings, are known to survive a fork.

The process that imports is the parent of whatever a bot file starts at import, a server for speech
for example, which all bots use. It forks once: its child serves, and has no children but bots and
what bots have left behind.
"""

import contextlib
import functools
import gc
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
from cordboard.contract.errors import BotFileError
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
from cordboard.runner.bot_file import Bot, load_bot
from cordboard.runner.landlock import confine
from cordboard.runner.pipes import RUNNER_ENDED, Report

MOST_FILES: Final = 65_536
OOM_SCORE: Final = 500  # a machine without memory ends a bot, not the runner of all of them
SETTLE_S: Final = 0.005  # a thread that was joined is still being taken down by the kernel

BOTS: Final[dict[str, Bot]] = {}
FAILURES: Final[dict[str, tuple[str, str]]] = {}


def report() -> Report:
    """Return what was found; to be asked in a process that the fork server has forked."""
    return Report(dict(FAILURES), preload_bare(), os.getppid())


def bot_named(name: str) -> Bot:
    """Return a bot: the one that was loaded before the fork, else from its file now.

    Raises:
        BotFileError: Its file cannot be loaded, or none has this name.
    """
    files = preload_bots()
    if name not in files:
        raise BotFileError(
            f"There is no bot {name!r} here; there are: {', '.join(files)}.",
            hint="Name it in [bots] of cordboard.toml, or by --bot NAME=FILE.",
        )
    return BOTS.get(name) or load_bot(name, files[name])


def _load() -> None:
    # Each bot holds the pipe by which the fork server would learn of our runner's end, so a bot
    # that spins would keep both: the kernel is asked instead.
    runner = preload_runner() or os.getppid()
    die_with_parent(runner)
    adopt_orphans()  # what a bot file starts at import is ours, even when it has made itself a daemon
    _take_output()
    if preload_landlock():
        confine()
    emit.configure(service="bot", format="json", session_from_environment=False)
    _import_pipecat()
    emit.quiesce()  # its thread must not be counted
    before = _threads()
    if not preload_bare():
        for name, file in preload_bots().items():
            try:
                BOTS[name] = load_bot(name, file)
            except BotFileError as error:
                FAILURES[name] = (error.message, error.hint)
        emit.quiesce()
        if (_threads() > before or threading.active_count() > 1) and not FAILURES:
            os.environ[PRELOAD_BARE] = "1"
            kill_children()  # each bot's import starts its own
            sys.stdout.flush()
            os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - ourselves, from the beginning
    emit.quiesce()
    _inherit(runner)
    gc.collect()
    gc.freeze()  # so that a child's collector does not copy the pages it shares with us
    _serve_in_a_child()


def _take_output() -> None:
    """Write to the pipe that we were given as standard input, for which the runner speaks.

    The runner's own output is not for bots: whoever could write there could speak as the runner.
    """
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        os.dup2(0, 1)
        os.dup2(0, 2)
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        os.dup2(nothing, 0)
        os.close(nothing)


def _offer_children_first() -> None:
    """Let each child be born with the score by which a machine without memory ends it first.

    Neither a child nor the runner could write it later: what may not be inspected belongs to root
    there. Where it cannot be written at all, a child has our score.
    """
    try:
        descriptor = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
        ours = int(os.read(descriptor, 16))
    except OSError:
        return
    held = [descriptor]

    def score(value: int) -> None:
        with contextlib.suppress(OSError):
            for file in held:
                os.pwrite(file, str(value).encode(), 0)

    def forget() -> None:
        while held:
            os.close(held.pop())

    os.register_at_fork(
        before=functools.partial(score, max(OOM_SCORE, ours)),
        after_in_parent=functools.partial(score, ours),
        after_in_child=forget,
    )


def _inherit(runner: int) -> None:
    """Be the one to whom a bot that ends leaves what it had started, and who ends that with us.

    The runner ends the orphans of a bot; when the runner has been killed, we do, before we end.
    """
    # What is killed with all of its group is the runner, and not who tidies up after it.
    os.setpgid(0, 0)
    signal.signal(RUNNER_ENDED, functools.partial(_end_all, os.getpid(), runner))
    die_with_parent(runner, number=RUNNER_ENDED)
    # The standard library's fork server knows nothing of adopted children, which it reaps.
    warnings.filterwarnings("ignore", message="forkserver: waitpid returned unexpected pid")


def _serve_in_a_child() -> None:
    """Return in a child, which is the fork server; stay its parent until it ends."""
    us = os.getpid()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of idle pools, see above
        server = os.fork()
    if not server:
        _offer_children_first()  # before the next step, which forbids it
    if not is_inspection_allowed():
        disable_inspection()
    if server:
        _wait_for(server)
    signal.signal(RUNNER_ENDED, signal.SIG_DFL)
    die_with_parent(us)
    adopt_orphans()


def _wait_for(server: int) -> NoReturn:
    """Reap what ends until the fork server has; then end what the bot files had started."""
    os.closerange(3, MOST_FILES)  # its socket too: whoever asks a dead server must hear so
    ended, status = 0, 0
    while ended != server:
        ended, status = os.waitpid(-1, 0)
    kill_children()
    os._exit(0 if status == 0 else 1)


def _end_all(us: int, runner: int, _number: int, _frame: FrameType | None) -> None:
    """End everything below us; not in a child, which is asked only before it has its own handlers."""
    if os.getpid() == us and os.getppid() != runner:
        kill_children()
        os._exit(1)


def _import_pipecat() -> None:
    """Import what every bot over WebRTC needs, whether or not its file names it."""
    import aiortc  # noqa: F401
    import pipecat.audio.vad.silero
    import pipecat.pipeline.worker
    import pipecat.runner.types
    import pipecat.transports.smallwebrtc.request_handler
    import pipecat.transports.smallwebrtc.transport
    import pipecat.workers.runner  # noqa: F401

    import cordboard.runner.bot_process
    import cordboard.runner.pipeline_observers  # noqa: F401


def _threads() -> int:
    """Count this process's threads: Python's, and those of C libraries where that can be seen."""
    time.sleep(SETTLE_S)
    try:
        return len(list(Path("/proc/self/task").iterdir()))
    except OSError:
        return threading.active_count()


if preload_bots():
    _load()
