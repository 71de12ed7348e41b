"""The exit of a bot process: exit handlers run, but nothing can keep the process."""

import contextlib
import os
import sys
import threading
from typing import NoReturn

from cordboard import emit
from cordboard.runner.stdlib_internals import run_exit_functions

log = emit.get_logger("bot")


def exit_with_handlers(status: int) -> NoReturn:
    """Exit with `status` after the handlers of ``atexit``, where exporters flush.

    Unlike Python's own exit, do not wait for threads that the bot has left behind.
    """
    with contextlib.suppress(BaseException):
        run_exit_functions()
    exit_now(status)


def exit_within(seconds: float, status: int) -> None:
    """Exit with `status` in `seconds` seconds, unless the process has exited by then."""
    timer = threading.Timer(seconds, _exit_late, (seconds, status))
    timer.daemon = True
    timer.start()


def exit_now(status: int) -> NoReturn:
    """Exit with `status` at once, without exit handlers. The output so far is written."""
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    emit.shutdown()
    os._exit(status)


def _exit_late(seconds: float, status: int) -> None:
    log.warning("The exit handlers did not end in time; exiting without them", seconds=seconds)
    exit_now(status)
