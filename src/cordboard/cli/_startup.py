"""Measures that shorten the start and the end of a process of the command line.

The gains are medians of processor time over 30 interleaved runs, each measure switched off alone, on
two busy cores with Python 3.11. A query is ``cordboard logs --dir DIR --session ID`` over one line, which
takes 74 ms; Python itself takes 15 ms of them. ``benchmarks/startup.py`` shows whole commands.

The measure with the largest gain is not in this module: each command's module is imported when it runs,
and it imports inside functions what only some of its options need. Importing all commands' modules costs
a query 23 ms more.
"""

import argparse
import contextlib
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Final

_STDOUT: Final = 1
_STDERR: Final = 2
_COLUMNS: Final = 80  # where stdout is no terminal, as argparse assumes


def prepare() -> None:
    """Prepare a process that runs the command line, and nothing else.

    The collector of reference cycles is off while modules are imported, which live as long as the
    process (2 ms of a query). Commands that run for long turn it on again: ``gc.enable()``.
    """
    gc.disable()
    _open_closed_streams()
    # A line may contain the name of a file that is not valid UTF-8.
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")


def finish(status: int, *, has_exit_handlers: bool) -> int:
    """Return ``status``, or end the process with it at once.

    ``gc.freeze`` spares the interpreter's last collection, which would look at all objects (8 ms of a
    query, 26 ms of ``cordboard sessions --dir``). ``os._exit`` spares the rest of its end (3 ms).

    Args:
        status: The exit status.
        has_exit_handlers: Whether the command registers functions with ``atexit`` or starts threads,
            which ``os._exit`` would skip.
    """
    gc.freeze()
    if not has_exit_handlers:
        # If a stream cannot be flushed, the interpreter's own end reports it.
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return status


def help_formatter(prog: str) -> argparse.HelpFormatter:
    """Return a formatter of help for ``prog`` that keeps the layout of epilogs.

    argparse makes one for each argument that is added. By default each asks ``shutil`` for the width of
    the terminal; importing it takes 2 ms.
    """
    try:
        columns = int(os.environ.get("COLUMNS", "0")) or os.get_terminal_size(_STDOUT).columns
    except (ValueError, OSError):
        columns = 0
    return argparse.RawDescriptionHelpFormatter(prog, width=(columns or _COLUMNS) - 2)


@contextmanager
def without_collection() -> Iterator[None]:
    """Turn the collector of reference cycles off inside the block, and on after it.

    A query allocates millions of tuples, which form no cycles. The collector would take a fifth of the
    query's time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _open_closed_streams() -> None:
    """Open /dev/null for standard streams that the shell closed (``>&-``).

    Otherwise the next file that the process opens gets the number of a standard stream, and ``print``
    writes into it.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        os.set_inheritable(fd, True)
    os.close(fd)
    if sys.stdout is None:
        sys.stdout = os.fdopen(_STDOUT, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(_STDERR, "w", encoding="utf-8", closefd=False)
