"""The pytest plugin fails a test for each problem, with file and line, and for nothing else."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SERVICE = """
import _thread, threading, time
from cordboard import get_logger, session_context
log = get_logger("svc")
shared = []

def good(session): log.info("Fine", mine=session)
def prints(): print("hello")
def bad_event(): log.info("Odd", event="no.such.event")
def bad_session():
    with session_context(session_id="no id"): log.info("Odd")

def native(function):
    done = threading.Event()
    _thread.start_new_thread(lambda: (function(), done.set()), ())
    done.wait(10)

def loses(session): native(lambda: log.info("Lost"))
def loses_outside_the_fixture():
    with session_context(session_id="call-7"): loses("call-7")
def server_line(): native(lambda: log.info("Nobody's"))
def pooled():
    with session_context(session_id="call-7"):
        native(lambda: None)
        threading.Thread(target=log.info, args=("Carried",)).start()

def mixes(session):
    shared.append(session)
    while len(shared) < 2: time.sleep(0.001)
    log.info("Mixed", about=shared[0])
"""
TESTS = """
import asyncio, pytest, svc
def test_good(cordboard_interleaved_sessions): cordboard_interleaved_sessions(svc.good)
def test_old_name(cordboard_canary): cordboard_canary(svc.good)
async def work(session):
    await asyncio.sleep(0)
    svc.good(session)
async def forgets(session):
    with svc.session_context(session_id="other"): svc.good(session)
def test_async(cordboard_interleaved_sessions): cordboard_interleaved_sessions(work)
async def test_in_a_loop(cordboard_async_interleaved_sessions):
    await cordboard_async_interleaved_sessions(work)
async def test_in_a_loop_wrong(cordboard_async_canary): await cordboard_async_canary(forgets)
def test_unbound(cordboard_interleaved_sessions):
    cordboard_interleaved_sessions(svc.good, bind=False)
def test_prints(): svc.prints()
@pytest.mark.cordboard_log_exempt("a reason")
def test_exempt(): svc.prints()
@pytest.mark.cordboard_log_exempt
def test_no_reason(): svc.prints()
def test_own_print(): print("a test may")
def test_event(): svc.bad_event()
def test_session(): svc.bad_session()
def test_loses(cordboard_interleaved_sessions): cordboard_interleaved_sessions(svc.loses)
def test_loses_outside_the_fixture(): svc.loses_outside_the_fixture()
def test_server_line(): svc.server_line()
def test_pooled(): svc.pooled()
def test_mixes(cordboard_interleaved_sessions): cordboard_interleaved_sessions(svc.mixes)
@pytest.fixture
def loud(): svc.prints()
def test_fixture(loud): pass
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "svc.py").write_text(SERVICE)
    (tmp_path / "test_svc.py").write_text(textwrap.dedent(TESTS))
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\nasyncio_mode = auto\n")
    return tmp_path


def run(project: Path, *options: str) -> str:
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    ours = [path for path in paths if "cordboard-log-" not in path]  # who listens to this run
    environment = {**os.environ, "TMPDIR": str(project), "PYTHONPATH": os.pathsep.join(ours)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options],
        cwd=project, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_each_problem_fails_its_test_with_file_and_line(project: Path) -> None:
    """Prints, invalid lines, and lost or mixed-up sessions fail one test each; no other test fails."""
    output = run(project, "--cordboard-log")
    failed = {
        word.partition("::")[2] for word in output.split() if word.startswith("test_svc.py::")
    }
    assert failed == {
        "test_in_a_loop_wrong", "test_unbound", "test_prints", "test_no_reason", "test_event", "test_session",
        "test_loses", "test_loses_outside_the_fixture", "test_mixes", "test_fixture",
    }, output  # fmt: skip
    assert "svc.py:8: print; use a logger instead" in output
    assert "svc.py:9: a line violates the schema: unknown event 'no.such.event'" in output
    assert "svc.py:11: a line violates the schema: invalid sessionId 'no id'" in output
    assert "svc.py:18: 'Lost' has session server:" in output
    assert (
        "svc.py:18: 'Lost' has no session, but its thread was started in session call-7" in output
    )
    assert "svc.py:30: a line about interleaved-" in output
    assert "svc.py:7: 'Fine' has session other, expected interleaved-" in output


def test_report_lists_modules_that_logged_and_that_did_not(project: Path) -> None:
    """It lists each module with a logger; tests are not part of it."""
    (project / "svc").mkdir()
    (project / "svc.py").rename(project / "svc" / "__init__.py")
    (project / "svc" / "silent.py").write_text(
        "import cordboard\nlog = cordboard.get_logger('x')\n"
    )
    report = project / "coverage.md"
    output = run(project, "--cordboard-log", "--cordboard-log-report", str(report))
    assert "cordboard-log: 1 of 2 modules logged" in output
    page = report.read_text()
    assert "| `svc` | app | yes | yes |" in page
    assert "| `svc.silent` |  | no | no |" in page
    assert "test_svc" not in page


def test_child_processes_are_checked(project: Path) -> None:
    """With --cordboard-log-children the module of a child is listed, and its problems fail the test."""
    (project / "child.py").write_text(
        "import os, cordboard\n"
        "log = cordboard.get_logger('c')\n"
        "log.info('Started')\n"
        "if os.fork() == 0: log.error('Odd', event='no.such.event')\n"
        "else: os.wait()\n"
    )
    (project / "test_svc.py").write_text(
        "import subprocess, sys\n"
        "def test_child(): subprocess.run([sys.executable, '-c', 'import child'], check=True)\n"
        "def test_other(): pass\n"
    )
    output = run(project, "--cordboard-log", "--cordboard-log-children", "-v")
    assert "child.py:4: a line violates the schema: unknown event 'no.such.event'" in output
    assert "1 failed, 1 passed" in output
    assert "1 of 1 modules logged" in run(project, "--cordboard-log", "--cordboard-log-children")
    assert not list(project.glob("cordboard-log-*"))


def test_workers_of_xdist_are_combined(project: Path) -> None:
    """One list contains what all workers of pytest-xdist and their child processes logged."""
    pytest.importorskip("xdist")
    (project / "child.py").write_text(
        "import cordboard\ncordboard.get_logger('c').info('Started')\n"
    )
    (project / "svc.py").write_text(
        "import cordboard\ncordboard.get_logger('s').info('Imported')\n"
    )
    (project / "test_svc.py").write_text(
        "import subprocess, sys\n"
        "def test_child(): subprocess.run([sys.executable, '-c', 'import child'], check=True)\n"
        "def test_own(): import svc\n"
        "def test_other(): pass\n"
    )
    output = run(project, "--cordboard-log", "--cordboard-log-children", "-n", "2")
    assert "3 passed" in output, output
    assert "2 of 2 modules logged" in output


def test_plugin_is_inactive_without_the_option(project: Path) -> None:
    """Prints and events fail nothing then; the fixtures work all the same."""
    output = run(project)
    assert "4 failed, 14 passed" in output, output
