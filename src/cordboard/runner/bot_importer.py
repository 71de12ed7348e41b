"""Import each bot file in a separate process, and fork the fork server of that bot there.

``preload`` imports Pipecat and forks one importer for each bot. So bot files share the memory of Pipecat and
nothing else: each has its own main module, modules, environment and log handlers, as under ``python bot.py``.

An importer stays the parent of what its bot file starts at import, such as a speech server that all bots use.
A fork server has no children except bot processes and processes that bots have left behind, so that it is
clear which processes to kill when a session ends.

What a bot file has opened at import may not be shared by processes (see ``shared_state``). Its importer then
ends, another one does not import the file, and each bot process imports it.
"""

import contextlib
import functools
import gc
import json
import os
import signal
import time
import warnings
from collections.abc import Mapping
from typing import Final, NoReturn

from cordboard import emit
from cordboard.environment import is_inspection_allowed
from cordboard.processes import (
    adopt_orphans,
    die_with_parent,
    disable_inspection,
    enable_inspection,
    kill_children,
)
from cordboard.runner import loaded_bots, stdlib_internals
from cordboard.runner.loaded_bots import ServedBot
from cordboard.runner.pipes import RUNNER_ENDED
from cordboard.runner.shared_state import ProcessState, flush_files, opened_since

# A bound above the descriptors that an importer may have inherited; closing unused numbers is one call.
DESCRIPTORS_MAX: Final = 65_536

# Half of the kernel's scale: a machine without memory ends a bot, not the runner of all of them.
OOM_SCORE: Final = 500

# The exit status of an importer whose bot file must be imported in each bot process; a bot file that ends
# its process uses small numbers.
_NOT_SHAREABLE: Final = 203

# The size of a pipe's buffer on Linux: a longer description would block the importer. JSON needs up to six
# bytes for a character.
_DESCRIPTION_MAX_BYTES: Final = 65_536
_TEXTS_MAX: Final = 40
_TEXT_MAX_CHARS: Final = 250


class BotImporters:
    """The importers of all bots of a runner.

    Args:
        bots: The bot files by bot name.
        listeners: The descriptor of the listening socket of each bot's fork server.
        stdlib_listener: The descriptor on which the standard library's fork server serves in this process.
        arguments: The arguments of the bot files.
        is_confined: Whether Landlock confines the processes.
    """

    def __init__(
        self,
        bots: Mapping[str, str],
        listeners: Mapping[str, int],
        stdlib_listener: int,
        arguments: tuple[str, ...],
        *,
        is_confined: bool,
    ) -> None:
        self._bots = dict(bots)
        self._arguments = arguments
        self._listeners = dict(listeners)
        self._stdlib_listener = stdlib_listener
        self._is_confined = is_confined
        # The bot and the pipe of each importer, by process id.
        self._importers: dict[int, tuple[str, int]] = {}

    def run(self) -> None:
        """Fork the importers, and return in the fork servers only.

        This process itself waits until an importer ends, which its fork server does not outlive. Then it ends
        all others and exits.
        """
        if not is_inspection_allowed():
            disable_inspection()
        for name in self._bots:
            if self._fork_importer(self._served_bot(name)):
                return
        while True:
            pid, status = os.waitpid(-1, 0)
            name, description = self._importers.pop(pid, ("", -1))
            if not name:  # an orphan of a bot file
                continue
            if os.waitstatus_to_exitcode(status) != _NOT_SHAREABLE:
                kill_children()
                os._exit(0 if status == 0 else 1)
            import_s, has_readyz, *opened = json.loads(os.read(description, _DESCRIPTION_MAX_BYTES))
            os.close(description)
            bot = self._served_bot(name)
            bot.opened, bot.import_s, bot.has_readyz = tuple(opened), import_s, has_readyz
            if self._fork_importer(bot):
                return

    def _fork_importer(self, served: ServedBot) -> bool:
        """Fork an importer for a bot; return whether this process is its fork server.

        Args:
            served: The bot, with what an earlier importer has found; the new one then does not import the file.
        """
        name = served.name
        parent_pid = os.getpid()
        read_end, write_end = os.pipe()
        pid = _fork()
        if pid:
            os.close(write_end)
            self._importers[pid] = (name, read_end)
            return False
        die_with_parent(parent_pid)
        adopt_orphans()  # even a daemon that the bot file starts belongs to its importer
        signal.signal(RUNNER_ENDED, signal.SIG_DFL)
        enable_inspection()  # else the fork server could not open the file of its score
        self._close_others(name, read_end)
        if not served.opened:
            _import(served, write_end)
        os.close(write_end)
        served.importer_pid = os.getpid()
        loaded_bots.serve(served)
        flush_files()
        gc.collect()
        # So that a bot's garbage collector does not write to, and thereby copy, the pages it shares with us.
        gc.freeze()
        _fork_server()
        os.dup2(self._listeners[name], self._stdlib_listener, inheritable=False)
        os.close(self._listeners[name])
        stdlib_internals.keep_exit_functions()
        return True

    def _served_bot(self, name: str) -> ServedBot:
        return ServedBot(name, self._bots[name], self._arguments, self._is_confined)

    def _close_others(self, name: str, read_end: int) -> None:
        """Close what belongs to the other importers: a request to a server that has ended must fail."""
        descriptors = [read_end, *(pipe for _, pipe in self._importers.values())]
        descriptors += [number for other, number in self._listeners.items() if other != name]
        for number in descriptors:
            os.close(number)


def _import(served: ServedBot, description: int) -> None:
    """Import a bot file. If it opens what processes must not share, write that to `description` and exit."""
    before = ProcessState.now()
    began_at = time.monotonic()
    served.load()
    import_s = round(time.monotonic() - began_at, 1)
    emit.quiesce()  # the logger's own thread must not be counted
    opened = opened_since(before)
    if not opened or served.failure:
        return
    flush_files()
    texts = [text[:_TEXT_MAX_CHARS] for text in opened[:_TEXTS_MAX]]
    os.write(description, json.dumps([import_s, served.has_readyz, *texts]).encode())
    kill_children()  # what the bot file started; the import in each bot process starts its own
    os._exit(_NOT_SHAREABLE)


def _fork() -> int:
    with warnings.catch_warnings():
        # Python 3.12 warns of a fork in a process with threads. Here these are the idle pools of numpy and
        # onnxruntime, which Pipecat brings, and which survive a fork.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _fork_server() -> None:
    """Fork the process that serves, and return in it. The importer waits for its end and exits."""
    importer_pid = os.getpid()
    server_pid = _fork()
    if not server_pid:
        _set_oom_score_of_children()  # before inspection is disabled, which makes the file root's
    if not is_inspection_allowed():
        disable_inspection()
    if server_pid:
        _exit_after(server_pid)
    die_with_parent(importer_pid)
    adopt_orphans()


def _exit_after(server_pid: int) -> NoReturn:
    """Reap children until the fork server has ended; then end what the bot file started, and exit."""
    os.closerange(
        3, DESCRIPTORS_MAX
    )  # its socket too: a request to a server that has ended must fail
    pid, status = 0, 0
    while pid != server_pid:
        pid, status = os.waitpid(-1, 0)
    kill_children()
    os._exit(0 if status == 0 else 1)


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
