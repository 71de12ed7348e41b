"""The private attributes of the standard library that the runner uses, all in this module.

``multiprocessing`` has a fork server, but no public way to have two of them, to get their process ids, to
keep their sockets off the disk, or to stop them from starting again with this process's environment.
``atexit`` has no public way to run the registered functions in a process that must then leave with
``os._exit``.

``tests/runner/test_runner_stdlib_internals.py`` checks that each attribute exists and means what is written
here. It holds for the versions in ``PYTHON_VERSIONS``; read it before you extend them.
"""

import atexit
import contextlib
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from multiprocessing import forkserver, process, resource_tracker, spawn
from multiprocessing.forkserver import ForkServer
from multiprocessing.process import BaseProcess
from typing import Any, Final

# The first and the last version of Python on which the test of these attributes was run.
PYTHON_VERSIONS: Final = ((3, 11), (3, 13))

_TRACKER: Final[Any] = resource_tracker._resource_tracker

# The fork server from which the running code forks; None means that of the standard library.
_forking_from: ContextVar[ForkServer | None] = ContextVar("forking_from", default=None)


def server_pid(server: ForkServer) -> int:
    """Return the process that the standard library started as `server`, or 0.

    Our ``preload`` module forks once more in it, so this process is the parent of the one that serves.
    """
    return _attributes(server)._forkserver_pid or 0


def resource_tracker_pid() -> int:
    """Return the process of the standard library's resource tracker, or 0."""
    return _TRACKER._pid or 0


def server_address(server: ForkServer) -> str:
    """Return the path of the socket on which `server` accepts requests."""
    address: str = _attributes(server)._forkserver_address
    return address


def set_server_address(server: ForkServer, address: str) -> None:
    """Send further requests for `server` to the socket with the path `address`."""
    _attributes(server)._forkserver_address = address


def close_alive_pipe(server: ForkServer) -> None:
    """Close the pipe whose end stops `server`, unless it is closed."""
    attributes = _attributes(server)
    if attributes._forkserver_alive_fd is not None:
        os.close(attributes._forkserver_alive_fd)
        attributes._forkserver_alive_fd = None


def disable_restart(server: ForkServer) -> None:
    """Stop the standard library from starting `server` and its resource tracker by itself.

    It does so before each fork when one of them has ended, and the new process would inherit this process's
    environment, secrets included.
    """
    for helper in (_attributes(server), _TRACKER):
        helper.ensure_running = _do_nothing


@contextlib.contextmanager
def forking_from(server: ForkServer) -> Iterator[None]:
    """Fork the processes that this thread starts inside the block from `server`.

    ``multiprocessing`` itself has one fork server for all threads. And it lets the process take over this
    process's ``sys.path``, ``sys.argv``, working directory and main module; here it keeps those of `server`.
    """
    forkserver.connect_to_new_process = _connect_to_new_process
    spawn.get_preparation_data = _preparation_data
    token = _forking_from.set(server)
    try:
        yield
    finally:
        _forking_from.reset(token)


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


def become_main_process() -> None:
    """Let ``multiprocessing.parent_process`` return None, as in a program that nothing has forked."""
    process._parent_process = None  # type: ignore[attr-defined]


def keep_exit_functions() -> None:
    """Let processes that this fork server forks keep the functions registered with ``atexit`` so far.

    From Python 3.14 on, ``multiprocessing.forkserver`` removes them in each process that it forks.
    """
    atexit._clear = _do_nothing


def run_exit_functions() -> None:
    """Run the functions registered with ``atexit``, which ``os._exit`` does not run."""
    atexit._run_exitfuncs()


_connect_to_default: Final = forkserver.connect_to_new_process
_default_preparation_data: Final = spawn.get_preparation_data


def _connect_to_new_process(fds: Sequence[int]) -> tuple[int, int]:
    server = _forking_from.get()
    connect = _connect_to_default if server is None else server.connect_to_new_process
    return connect(fds)


def _preparation_data(name: str) -> dict[str, Any]:
    return _default_preparation_data(name) if _forking_from.get() is None else {"name": name}


def _attributes(server: ForkServer) -> Any:
    return server  # without types: the attributes are private


def _do_nothing() -> None:
    pass
