"""The private attributes of the standard library that the runner uses exist and mean what it takes them for."""

import atexit
import multiprocessing
import os
import subprocess
import sys
from multiprocessing import forkserver, process, resource_tracker, spawn
from pathlib import Path
from typing import Any

import pytest

from cordboard.runner import stdlib_internals

SCRIPT = """
import multiprocessing, os, sys, time
from multiprocessing import forkserver
from pathlib import Path
from cordboard.runner import stdlib_internals as internals

def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

def wait_for_end(pid):
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

server, other = forkserver.ForkServer(), forkserver.ForkServer()
assert (internals.server_pid(server), internals.resource_tracker_pid()) == (0, 0)
with internals.temporary_directory(sys.argv[1]):
    server.ensure_running()
assert "tempdir" not in multiprocessing.current_process()._config
assert parent_of(internals.server_pid(server)) == os.getpid()
assert parent_of(internals.resource_tracker_pid()) == os.getpid()
print("socket in directory", os.path.dirname(internals.server_address(server)) == sys.argv[1])

context = multiprocessing.get_context("forkserver")
def fork(target=os.getpid, args=(), server=server):
    child = context.Process(target=target, args=args)
    with internals.forking_from(server):
        child.start()
    return child

child = fork()
internals.forget_child(child)
time.sleep(0.5)  # it ends
fork().join()
print("status is left to us", forkserver.read_signed(child.sentinel))

moved = os.open(internals.server_address(server), os.O_PATH)
os.unlink(internals.server_address(server))
internals.set_server_address(server, f"/proc/self/fd/{moved}")
fork().join()
print("reached by a descriptor")

other.ensure_running()
children = [(owner, fork(time.sleep, (60,), owner)) for owner in (server, other)]
print("two servers", [parent_of(c.pid) == internals.server_pid(owner) for owner, c in children])
for _, child in children:
    child.kill()
internals.close_alive_pipe(other)
wait_for_end(internals.server_pid(other))
print("ends with its pipe")

pids = internals.server_pid(server), internals.resource_tracker_pid()
internals.disable_restart(server)
for pid in pids:
    os.kill(pid, 9)
    wait_for_end(pid)
try:
    fork()
except (OSError, EOFError):
    pass
print("not restarted", (internals.server_pid(server), internals.resource_tracker_pid()) == pids)
"""


def test_versions_of_python_are_those_that_were_read() -> None:
    """The attributes are private: each version's sources are read before it is added."""
    first, last = stdlib_internals.PYTHON_VERSIONS
    assert first <= sys.version_info[:2] <= last


@pytest.mark.parametrize(
    ("holder", "name"),
    [
        (forkserver, "_forkserver"),
        (forkserver, "connect_to_new_process"),
        (forkserver._forkserver, "_forkserver_pid"),
        (forkserver._forkserver, "_forkserver_address"),
        (forkserver._forkserver, "_forkserver_alive_fd"),
        (forkserver, "read_signed"),
        (resource_tracker, "_resource_tracker"),
        (resource_tracker._resource_tracker, "_pid"),
        (process, "_children"),
        (multiprocessing.current_process(), "_config"),
        (process, "_parent_process"),
        (spawn, "get_preparation_data"),
        (atexit, "_clear"),
        (atexit, "_run_exitfuncs"),
    ],
)
def test_private_attribute_exists(holder: Any, name: str) -> None:
    assert hasattr(holder, name)


def test_exit_functions_run_in_reverse_order_and_once(tmp_path: Path) -> None:
    """What ``atexit`` has registered runs, the last one first, and is not run again by Python's exit."""
    script = "import atexit; from cordboard.runner.stdlib_internals import run_exit_functions\n"
    script += "atexit.register(print, 'first'); atexit.register(print, 'last')\n"
    script += "run_exit_functions(); print('done')"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["last", "first", "done"]


def test_exit_functions_stay_where_multiprocessing_removes_them() -> None:
    """``atexit._clear`` has no effect in a fork server: newer releases call it in each child."""
    script = "import atexit; from cordboard.runner.stdlib_internals import keep_exit_functions\n"
    script += "atexit.register(print, 'kept'); keep_exit_functions(); atexit._clear()"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["kept"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_fork_server_behaves_as_the_runner_takes_it(tmp_path: Path) -> None:
    """Its process, its socket, its restarts and the exit status of its children, in a process of its own."""
    assert len(os.fsencode(tmp_path)) < 80, "a socket's path has at most 107 bytes"
    # Not a file: the fork server's children would import it as their main module.
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert run.stdout.splitlines() == [
        "socket in directory True",
        "status is left to us 0",
        "reached by a descriptor",
        "two servers [True, True]",
        "ends with its pipe",
        "not restarted True",
    ], run.stderr
