"""The private attributes of the standard library that the runner uses, all in this module.

``multiprocessing`` has a fork server, but no public way to get its process id, to keep its socket off the
disk, or to stop it from starting again with this process's environment. ``atexit`` has no public way to run
the registered functions in a process that must then leave with ``os._exit``.

``tests/runner/test_runner_stdlib_internals.py`` checks that each attribute exists and means what is written
here. It holds for the versions in ``PYTHON_VERSIONS``; read it before you extend them.
"""

import atexit
import contextlib
import multiprocessing
from collections.abc import Iterator
from multiprocessing import forkserver, process, resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any, Final

# The first and the last version of Python on which the test of these attributes was run.
PYTHON_VERSIONS: Final = ((3, 11), (3, 13))

_SERVER: Final[Any] = forkserver._forkserver
_TRACKER: Final[Any] = resource_tracker._resource_tracker


def fork_server_pid() -> int:
    """Return the process that the standard library started as its fork server, or 0.

    Our ``preload`` module forks once more in it, so this process is the parent of the one that serves.
    """
    return _SERVER._forkserver_pid or 0


def resource_tracker_pid() -> int:
    """Return the process of the standard library's resource tracker, or 0."""
    return _TRACKER._pid or 0


def fork_server_address() -> str:
    """Return the path of the socket on which the fork server accepts requests."""
    address: str = _SERVER._forkserver_address
    return address


def set_fork_server_address(address: str) -> None:
    """Send further requests to the socket with the path `address`."""
    _SERVER._forkserver_address = address


def disable_restart() -> None:
    """Stop the standard library from starting its fork server and resource tracker by itself.

    It does so before each fork when one of them has ended, and the new process would inherit this process's
    environment, secrets included. ``forkserver.ensure_running``, a bound method of the class, still works.
    """
    for helper in (_SERVER, _TRACKER):
        helper.ensure_running = _do_nothing


@contextlib.contextmanager
def temporary_directory(path: str) -> Iterator[None]:
    """Make ``multiprocessing`` create its sockets in the directory `path` inside the block.

    Otherwise it makes a temporary directory and removes it at exit, which a killed process cannot do.
    """
    options = multiprocessing.current_process()._config  # type: ignore[attr-defined]
    options["tempdir"] = path
    try:
        yield
    finally:
        del options["tempdir"]


def forget_child(child: BaseProcess) -> None:
    """Remove `child` from the processes whose exit status ``multiprocessing`` collects.

    It collects them whenever any thread starts a process; the task that waits for `child` would then find no
    status.
    """
    process._children.discard(child)  # type: ignore[attr-defined]


def run_exit_functions() -> None:
    """Run the functions registered with ``atexit``, which ``os._exit`` does not run."""
    atexit._run_exitfuncs()


def _do_nothing() -> None:
    pass
