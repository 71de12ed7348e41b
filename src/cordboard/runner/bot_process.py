"""The bot process: it gets the environment, context and output of one session, then runs ``bot()``.

``bot()`` is entered only after the supervisor has sent ``go``, which it does when the store has confirmed
that this session and epoch hold the room.
"""

import asyncio
import contextlib
import os
import resource
import socket
import sys
import warnings
from pathlib import Path
from typing import Any, Final, NoReturn

from cordboard import emit
from cordboard.context import bind_process
from cordboard.context.carrier import inject_environment
from cordboard.context.launch import context_of
from cordboard.contract.lease import Periods
from cordboard.emit.pipeline import pipeline
from cordboard.environment import BOT_VARIABLES, SECRET_VARIABLES
from cordboard.processes import adopt_orphans, die_with_parent
from cordboard.runner import pipes
from cordboard.runner.bot_file import Bot
from cordboard.runner.landlock import confine
from cordboard.runner.lease_guard import LeaseGuard, LeasePage
from cordboard.runner.loaded_bots import call_target, served_bot
from cordboard.runner.memory_limit import limit_memory
from cordboard.runner.pipes import EXIT_GRACE_S, BotPipes, BotStart
from cordboard.runner.process_exit import exit_now, exit_with_handlers, exit_within
from cordboard.runner.record_options import use_options
from cordboard.runner.startup_errors import StartupErrorReporter
from cordboard.runner.stdlib_internals import become_main_process

_OBSERVERS_FILE: Final = Path(__file__).with_name("pipeline_observers.py")


def main(start: BotStart, control: socket.socket, bot_pipes: BotPipes) -> NoReturn:
    """Run a bot process; never return.

    Args:
        start: The session and its options.
        control: The control channel to the supervisor. When it closes, the process exits.
        bot_pipes: The pipes for output, the lease page, and the socket for connections.
    """
    # Here and not above: the supervisor imports this module, and must not import Pipecat.
    from cordboard.runner.bot_run import BotRun

    reporter = StartupErrorReporter(control, start.options.memory_mb)
    try:
        guard = _set_up(start, bot_pipes)
        bot = _load_bot(control)
    except BaseException as error:
        reporter.report(error)
        exit_now(1)
    status = 1
    try:
        with asyncio.Runner(loop_factory=lambda: _BotEventLoop(guard.selector())) as loop:
            status = loop.run(BotRun(start, control, bot_pipes.connections, bot).run())
            # Armed before the runner closes the loop, which waits for the bot's remaining tasks.
            exit_within(EXIT_GRACE_S, status)
    except BaseException as error:
        reporter.report(error)
        exit_within(EXIT_GRACE_S, status)
    finally:
        exit_with_handlers(status)


class _BotEventLoop(asyncio.SelectorEventLoop):
    """An event loop that does not wait for threads when it closes.

    A thread that the bot has left behind must not keep its process alive.
    """

    async def shutdown_default_executor(self, *_args: Any, **_options: Any) -> None:
        """Do nothing."""


def _set_up(start: BotStart, bot_pipes: BotPipes) -> LeaseGuard:
    """Bind this process to its session, before any code of its bot runs."""
    become_main_process()
    os.setsid()  # so that the supervisor can signal the bot with everything that it starts
    die_with_parent(os.getppid())
    adopt_orphans()  # so that processes of this bot never become children of the fork server while it runs
    os.dup2(bot_pipes.stdout.fileno(), 1)
    os.dup2(bot_pipes.stderr.fileno(), 2)
    _buffer_output_by_line()
    _set_limits(start)
    if served_bot().is_confined:
        confine()  # in a separate domain, so that the bot cannot reach the other bots
    context = context_of(start.launch)
    _remove_secrets()
    _set_observers()
    use_options(start.options.records)
    inject_environment(context, os.environ)
    bind_process(context)
    pipeline.start_boot(start.boot)
    emit.configure(service="bot", fd=bot_pipes.records.fileno(), format="json")
    guard = LeaseGuard(LeasePage(bot_pipes.lease_page.fileno()), Periods(start.lease_s))
    guard.start()
    return guard


def _load_bot(control: socket.socket) -> Bot:
    """Return the bot; import its file now if that was not done before the fork, and report it as loaded.

    Not inside the event loop: a bot file may call ``asyncio.run`` at import.
    """
    bot = call_target()
    _remove_secrets()  # those that the bot file has read from a file meant for Cordboard
    _seed_generators()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.14 deprecates policies
        # The event loop of this process is asyncio's own; that of another policy could not use its parts,
        # for example start a process.
        asyncio.set_event_loop_policy(None)
    control.sendall(pipes.encode({"loaded": True}))
    return bot


def _seed_generators() -> None:
    """Seed numpy's global generator, as Python seeds its own after a fork.

    Otherwise all sessions would draw the same numbers.
    """
    random = sys.modules.get("numpy.random")
    if random is not None:
        random.seed()


def _buffer_output_by_line() -> None:
    """Make each print visible at once, also through a stream that the bot file has installed."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        # A stream that the bot file installed may have no such method.
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def _set_limits(start: BotStart) -> None:
    """Limit memory, file size and core dumps, so that a bot that leaks, floods or crashes fails alone.

    RLIMIT_NPROC is not set: it counts all threads of the user, including those of other bots, and does not
    apply to root. The supervisor counts the processes of each bot instead.
    """
    limit_memory(start.options.memory_mb)
    file_bytes = start.options.file_mb * 1024 * 1024
    for limit, value in ((resource.RLIMIT_FSIZE, file_bytes), (resource.RLIMIT_CORE, 0)):
        # A hard limit that is lower already stays; raising it is not permitted.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(limit, (value, value))


def _remove_secrets() -> None:
    """Remove Cordboard's secrets from the environment."""
    for name in SECRET_VARIABLES:
        # The fork server never had the runner's own, so one that exists was set by the bot file.
        if name not in BOT_VARIABLES:
            os.environ.pop(name, None)


def _set_observers() -> None:
    """Let Pipecat load our observers."""
    setup_files = (os.environ.get("PIPECAT_SETUP_FILES", ""), str(_OBSERVERS_FILE))
    os.environ["PIPECAT_SETUP_FILES"] = os.pathsep.join(filter(None, setup_files))
