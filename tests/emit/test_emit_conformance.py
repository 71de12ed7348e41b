"""The kit fails a service for what it should, with file and line, and for nothing else."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SERVICE = """
import _thread, threading, time
from cordboard import get_logger
log = get_logger("svc")
shared = []

def good(session): log.info("Fine", mine=session)
def prints(): print("hello")
def bad_event(): log.info("Odd", event="no.such.event")

def loses(session):
    done = threading.Event()
    _thread.start_new_thread(lambda: (log.info("Lost"), done.set()), ())
    done.wait(10)

def mixes(session):
    shared.append(session)
    while len(shared) < 2: time.sleep(0.001)
    log.info("Mixed", about=shared[0])
"""
TESTS = """
import svc
def test_good(cordboard_canary): cordboard_canary(svc.good)
async def work(session): svc.good(session)
def test_async(cordboard_canary): cordboard_canary(work)
def test_prints(): svc.prints()
def test_own_print(): print("a test may")
def test_event(): svc.bad_event()
def test_loses(cordboard_canary): cordboard_canary(svc.loses)
def test_mixes(cordboard_canary): cordboard_canary(svc.mixes)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "svc.py").write_text(SERVICE)
    (tmp_path / "test_svc.py").write_text(textwrap.dedent(TESTS))
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    return tmp_path


def run(project: Path, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options],
        cwd=project, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_each_fault_fails_its_test_with_file_and_line(project: Path) -> None:
    """A print, an unknown event, a lost and a mixed-up session each fail one test, and only that."""
    report = project / "coverage.md"
    said = run(project, "--cordboard-log", "--cordboard-log-report", str(report))
    assert "4 failed, 3 passed" in said, said
    assert "svc.py:8: print; say it through a logger" in said
    assert "svc.py:9: a line breaks the schema: event 'no.such.event'" in said
    assert "svc.py:13: 'Lost' has no session" in said
    assert "svc.py:19: a line about canary-" in said
    assert "| app | `svc` | yes | yes |" in report.read_text()


def test_without_the_option_the_kit_is_asleep(project: Path) -> None:
    """Without the option prints and events fail nothing; a canary works all the same."""
    said = run(project)
    assert "2 failed, 5 passed" in said, said
