"""The real setup.sh with the real pip, started by make at a terminal; the index alone is a stand-in."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from terminal.index_support import Index
from terminal.terminal_support import ROOT, Terminal, processes_in, until

pytestmark = pytest.mark.terminal

# In the place of hatchling, which a real set-up fetches first: makes the editable wheel of the clone.
BACKEND = """
import os, sys
sys.path.insert(0, os.getcwd())
from index_support import wheel

def build_editable(folder, settings=None, metadata=None):
    name = "cordboard-1.0-py3-none-any.whl"
    open(os.path.join(folder, name), "wb").write(wheel("cordboard", 1))
    return name
"""
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "cordboard"
version = "1.0"
"""


class Clone:
    """A clone of the tree whose locked packages are small ones of the index."""

    def __init__(self, folder: Path, index: Index) -> None:
        """Copy what a set-up reads."""
        self.folder, self.index = folder, index
        shutil.copytree(
            ROOT / "scripts", folder / "scripts", ignore=shutil.ignore_patterns("__py*")
        )
        shutil.copy(ROOT / "Makefile", folder)
        shutil.copy(Path(__file__).with_name("index_support.py"), folder)
        (folder / "backend.py").write_text(BACKEND)
        (folder / "pyproject.toml").write_text(PROJECT)
        (folder / "hatch_build.py").touch()
        (folder / "requirements").mkdir()
        (folder / "src" / "cordboard" / "logs").mkdir(parents=True)
        (folder / "src" / "cordboard" / "logs" / "_a.c").touch()
        self.lock("up", ["alpha"])
        self.lock("dev", ["alpha", "beta", "gamma"])
        self.env = {
            "HOME": str(folder),
            "PYTHON": sys.executable,
            "PIP_INDEX_URL": index.url,
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_RETRIES": "0",
            "PIP_DEFAULT_TIMEOUT": "120",
            "PIP_NO_CACHE_DIR": "1",
        }

    def lock(self, kind: str, names: list[str], files: int = 1) -> None:
        """Pin packages; the last one has so many files."""
        lines = [self.index.add(name) for name in names[:-1]] + [self.index.add(names[-1], files)]
        (self.folder / "requirements" / f"{kind}.txt").write_text("".join(lines))

    def at_terminal(self, *words: str) -> Terminal:
        """Run make at a terminal."""
        return Terminal(["make", *words], cwd=self.folder, env=self.env)

    def in_pipe(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run make with its output in a pipe."""
        return subprocess.run(
            ["make", *words],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], **self.env},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def has(self, package: str) -> bool:
        """Return whether the environment works and has the package."""
        words = [".venv/bin/python", "-c", f"import {package}.data_0"]
        return subprocess.run(words, cwd=self.folder, check=False).returncode == 0

    def pips(self) -> list[int]:
        """Return the processes of pip that work for this clone."""
        return processes_in(self.folder, naming="guarded.py")

    def script(self) -> int:
        """Return the process of setup.sh."""
        return next(
            pid for pid in processes_in(self.folder, naming="setup.sh") if pid not in self.pips()
        )


@pytest.fixture(scope="module")
def index() -> Iterator[Index]:
    """An index for all tests of this file."""
    served = Index()
    yield served
    served.close()


@pytest.fixture(scope="module")
def set_up(index: Index, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone that was set up in a pipe."""
    clone = Clone(tmp_path_factory.mktemp("clone"), index)
    done = clone.in_pipe("install")
    assert done.returncode == 0, done.stderr
    return clone


@pytest.fixture
def held(set_up: Clone) -> Iterator[Clone]:
    """The same; the index answers nothing while the test runs."""
    set_up.index.hold()
    set_up.index.asked.clear()
    yield set_up
    set_up.index.let_go()
    set_up.index.failing = False


def is_untouched(clone: Clone) -> bool:
    """Return whether what was set up is taken for complete, without asking the index, and works."""
    clone.index.asked.clear()
    done = clone.in_pipe("install")
    assert (done.returncode, done.stderr) == (0, "")
    return clone.has("alpha") and not clone.has("beta") and not clone.index.asked


def test_setup_at_a_terminal_shows_progress(tmp_path: Path, index: Index) -> None:
    """It tells how far it is on one line, from before the first package is there, and ends well."""
    clone = Clone(tmp_path, index)
    index.hold()
    terminal = clone.at_terminal("install")
    terminal.expect("installing: asking for the first of 1 packages, 1 s")
    index.pages.set()
    terminal.expect("installing: fetching package 1 of 1")
    index.files.set()
    assert terminal.ended() == 0, terminal.screen
    assert "cordboard itself: " not in terminal.written
    lines = terminal.screen.splitlines()
    assert lines[0].startswith("cordboard: making the virtual environment .venv with Python 3.")
    assert lines[1].startswith("cordboard: installing 1 locked packages")
    assert lines[2:] == ["cordboard: set up."]
    assert clone.has("alpha")


def test_setup_in_a_pipe_has_no_control_sequences(set_up: Clone) -> None:
    """No control sequence gets into a file; a second run is done at once and says nothing."""
    assert is_untouched(set_up)
    shutil.rmtree(set_up.folder / ".venv")
    done = set_up.in_pipe("install")
    assert done.returncode == 0
    assert not done.stdout
    assert "\r" not in done.stderr
    assert "\x1b" not in done.stderr
    assert done.stderr.splitlines()[-1] == "cordboard: set up."


def _ctrl_c(terminal: Terminal, clone: Clone) -> None:
    terminal.press(b"\x03")


def _quit(terminal: Terminal, clone: Clone) -> None:
    terminal.press(b"\x1c")


def _closed_window(terminal: Terminal, clone: Clone) -> None:
    terminal.hang_up()


def _make_told(terminal: Terminal, clone: Clone) -> None:
    terminal.process.terminate()


def _make_killed(terminal: Terminal, clone: Clone) -> None:
    terminal.process.kill()


def _script_killed(terminal: Terminal, clone: Clone) -> None:
    os.kill(clone.script(), signal.SIGKILL)


@pytest.mark.parametrize(
    "end", [_ctrl_c, _quit, _closed_window, _make_told, _make_killed, _script_killed]
)
def test_end_of_make_ends_pip(held: Clone, end: Callable[[Terminal, Clone], None]) -> None:
    """No pip goes on behind the user's back, and what worked before works still."""
    terminal = held.at_terminal("dev")
    held.index.pages.set()
    terminal.expect("installing: fetching package")
    assert held.pips()
    end(terminal, held)
    until(lambda: not processes_in(held.folder), lambda: f"an end of {held.pips()}")
    assert terminal.process.wait(10) != 0
    assert is_untouched(held)
    terminal.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_end_of_make_ends_pip_without_a_terminal(held: Clone, number: int) -> None:
    """Where no terminal tells the script of make's end, it notices by itself."""
    with subprocess.Popen(
        ["make", "dev"],
        cwd=held.folder,
        env={"PATH": os.environ["PATH"], **held.env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as make:
        held.index.pages.set()
        until(lambda: any("/files/" in path for path in held.index.asked), lambda: "pip's fetching")
        make.send_signal(number)
        until(lambda: not processes_in(held.folder), lambda: f"an end of {held.pips()}")
        assert make.wait(10) != 0
    assert is_untouched(held)


def test_error_in_the_setup_script_ends_pip(held: Clone) -> None:
    """Where the script ends by a fault of its own, pip does not go on alone."""
    script = held.folder / "scripts" / "setup.sh"
    whole = script.read_text()
    try:
        script.write_text(whole.replace("    sleep 0.5\n", '    sleep 0.5; : "$nowhere"\n'))
        done = held.in_pipe("dev")
    finally:
        script.write_text(whole)
    assert done.returncode != 0
    assert "nowhere" in done.stderr
    until(lambda: not processes_in(held.folder), lambda: f"an end of {held.pips()}")
    assert is_untouched(held)


def test_failed_setup_keeps_the_working_environment(held: Clone) -> None:
    """`make test` without its packages fails; `make up` runs on as before."""
    held.index.failing = True
    held.index.let_go()
    terminal = held.at_terminal("dev")
    assert terminal.ended() == 2
    assert "cordboard: The packages cannot be fetched" in terminal.screen
    assert is_untouched(held)


def test_setup_interrupted_while_pip_writes_starts_anew(set_up: Clone) -> None:
    """What is half written is not taken for done: the next run makes it anew."""
    set_up.lock("dev", ["alpha", "beta", "delta"], files=1500)
    terminal = set_up.at_terminal("dev")
    until((set_up.folder / ".venv" / ".unfinished").exists, lambda: terminal.screen)
    terminal.process.kill()
    until(lambda: not processes_in(set_up.folder), lambda: f"an end of {set_up.pips()}")
    terminal.close()
    assert (set_up.folder / ".venv" / ".unfinished").exists()
    terminal = set_up.at_terminal("install")
    assert terminal.ended() == 0
    assert "making the virtual environment" in terminal.screen
    assert set_up.has("alpha")


def test_setup_interrupted_while_venv_is_made_is_unfinished(tmp_path: Path, index: Index) -> None:
    """The set-up's first step ends like the others, and is not taken for done."""
    clone = Clone(tmp_path, index)
    terminal = clone.at_terminal("install")
    terminal.expect("making the virtual environment")
    until(lambda: bool(clone.pips()), lambda: terminal.screen)
    terminal.press(b"\x03")
    until(lambda: not processes_in(tmp_path), lambda: f"an end of {processes_in(tmp_path)}")
    assert terminal.ended() != 0
    assert "interrupted" in terminal.screen
    assert (tmp_path / ".venv" / ".unfinished").exists()
