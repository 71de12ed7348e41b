"""Each verb of make and each command of the README, at a terminal and in a pipe, in a clone of the tree.

The clone borrows the installed packages of this one; test_terminal_setup.py shows how they get there.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cordboard.cli import COMMANDS
from terminal.terminal_support import COLOUR, ROOT, Terminal, processes_in, until
from up_support import FREE_PORTS, environment

pytestmark = pytest.mark.terminal

NOT_OF_THE_TREE = (
    ".git",
    ".venv",
    ".make",
    "__pycache__",
    ".*_cache",
    "out",
    ".hypothesis",
    "dist",
    "node_modules",
    "site",
)
# What a reader of the README types; test_every_command_of_the_readme_is_tested compares.
README_COMMANDS = {
    "git clone URL cordboard",  # the copy that the tests run in
    "cd cordboard",
    "make up",
    ". .venv/bin/activate",
    "cordboard logs --local --session ID",
    "cordboard call webrtc:demo --say examples/hello.wav --record answer.wav",
    "cordboard up --bot examples/echo.py",
}
# What make and pytest have told this run: a command of the README runs under neither.
OF_THIS_RUN = [n for n in os.environ if n.startswith(("MAKE", "MFLAGS", "PYTEST_"))] + ["ARGS"]
SPEAK = ("--say", "examples/hello.wav")


class Clone:
    """A clone whose set-up is done."""

    def __init__(self, folder: Path) -> None:
        """Copy the tree; lend it the packages."""
        self.folder = folder / "clone"
        shutil.copytree(ROOT, self.folder, ignore=shutil.ignore_patterns(*NOT_OF_THE_TREE))
        (self.folder / ".make").mkdir()
        self.env = environment(folder / "state", HOME=str(folder), TERM="xterm-256color")
        for name in ("NO_COLOR", *OF_THIS_RUN):
            self.env.pop(name, None)
        self.lend()

    def lend(self) -> None:
        """Make a .venv of links, with stamps of its own."""
        venv = self.folder / ".venv"
        venv.mkdir()
        for item in (ROOT / ".venv").iterdir():
            if not item.name.startswith("."):
                (venv / item.name).symlink_to(item)
        for kind in ("up", "dev"):
            words = ["sh", "-c", f". scripts/lib.sh; fingerprint {kind}"]
            stamp = subprocess.run(words, cwd=self.folder, capture_output=True, check=True).stdout
            (venv / f".stamp-{kind}").write_bytes(stamp)

    def at_terminal(self, *words: str) -> Terminal:
        """Start a command at a terminal."""
        return Terminal([*words], cwd=self.folder, env=self.env)

    def screen_of(self, *words: str) -> tuple[int, Terminal]:
        """Run a command at a terminal."""
        terminal = self.at_terminal(*words)
        return terminal.ended(), terminal

    def in_pipe(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a command with its output in pipes."""
        done = subprocess.run(
            words,
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert "\x1b" not in done.stdout + done.stderr
        assert "\r" not in done.stdout + done.stderr
        return done

    def both(self, *words: str) -> tuple[int, str]:
        """Run a command at a terminal and in a pipe, which must agree; return status and screen."""
        status, terminal = self.screen_of(*words)
        done = self.in_pipe(*words)
        assert done.returncode == status, (terminal.screen, done.stdout, done.stderr)
        return status, terminal.screen


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """One clone for all."""
    return Clone(tmp_path_factory.mktemp("commands"))


@pytest.fixture(scope="module")
def up(clone: Clone) -> Iterator[Terminal]:
    """`make up` at a terminal, with the README's own bot; ended by Ctrl-C."""
    arguments = f"ARGS=--bot examples/echo.py {' '.join(FREE_PORTS)}"
    with clone.at_terminal("make", "up", arguments) as terminal:
        terminal.expect("stop everything:")
        yield terminal
        terminal.press(b"\x03")
        terminal.expect("All components have stopped")
        assert terminal.ended() != 0
        assert "Traceback" not in terminal.screen
    until(lambda: not processes_in(clone.folder), lambda: "an end of all processes")


def test_every_command_of_the_readme_is_tested() -> None:
    """A command that the README gains is run here as well."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", readme, re.DOTALL)
    lines = {line.partition("#")[0].strip() for block in blocks for line in block.splitlines()}
    assert lines - {""} == README_COMMANDS


def test_make_lists_its_verbs(clone: Clone) -> None:
    """`make` alone lists what there is."""
    status, screen = clone.both("make")
    assert status == 0
    for verb in (
        "help",
        "install",
        "up",
        "test",
        "coverage",
        "lint",
        "bench",
        "sizes",
        "docs",
        "lock",
        "clean",
    ):
        assert re.search(rf"^  make {verb}  +\w", screen, re.MULTILINE)
    assert " dev " not in screen


def test_make_test_returns_the_status_of_pytest(clone: Clone) -> None:
    """Pytest starts, and its status is make's."""
    words = ("make", "test", "ARGS=-n 0 tests/contract/test_contract_ids.py")
    status, terminal = clone.screen_of(*words)
    assert status == 0, terminal.screen
    assert re.search(r"\d+ passed", terminal.screen)
    said = [line for line in terminal.screen.splitlines() if line.startswith("cordboard:")]
    once = ("browser clients", "helm and kubectl")  # installed by the first run in a clone
    assert [line for line in said if not any(name in line for name in once)] == []
    done = clone.in_pipe(*words)
    assert done.returncode == 0
    assert re.search(r"\d+ passed", done.stdout)


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        (["make", "lint"], "All checks passed!"),
        (["make", "bench"], "== benchmarks/"),
        (["make", "docs"], "cordboard: installing"),
    ],
)
def test_ctrl_c_ends_a_long_verb_and_its_processes(
    clone: Clone, words: list[str], seen: str
) -> None:
    """What runs for minutes starts at a terminal; Ctrl-C ends it, with all that it started."""
    with clone.at_terminal(*words) as terminal:
        terminal.expect(seen)
        terminal.press(b"\x03")
        assert terminal.ended() != 0
        until(lambda: not processes_in(clone.folder), lambda: f"an end after\n{terminal.screen}")


def test_unknown_benchmark_lists_the_known_ones(clone: Clone) -> None:
    """A name that is misspelt runs nothing, and those that there are are named."""
    status, screen = clone.both("make", "bench", "ARGS=strtup")
    assert status == 2
    assert "cordboard: There is no benchmark strtup." in screen
    assert "startup" in screen.splitlines()[1]


def test_benchmark_without_chromium_says_what_it_needs(clone: Clone) -> None:
    """One line says what is needed, in the place of a traceback."""
    words = (".venv/bin/python", "benchmarks/page.py")
    done = subprocess.run(
        words,
        cwd=clone.folder,
        env={**clone.env, "CHROMIUM": "/no/chromium"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("page: needs Chromium")
    assert len(done.stderr.splitlines()) == 1


def test_make_clean_removes_everything_made(tmp_path: Path) -> None:
    """It removes what was made, benchmarks' files included, and says nothing."""
    clone = Clone(tmp_path)
    made = [clone.folder / name for name in (".venv", ".make", "benchmarks/out", "dist")]
    for folder in made[2:]:
        folder.mkdir()
    status, screen = clone.both("make", "clean")
    assert (status, screen) == (0, "")
    assert not [folder for folder in made if folder.exists()]
    assert (ROOT / ".venv" / "bin" / "python").exists()


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_the_terminal(clone: Clone, command: str) -> None:
    """Every command explains itself, within the width of the terminal."""
    words = [".venv/bin/cordboard", *([command] if command else []), "--help"]
    status, screen = clone.both(*words)
    assert status == 0
    assert screen.startswith("usage: cordboard")
    assert max(map(len, screen.splitlines())) <= 120


def test_up_shows_the_address_to_open(up: Terminal) -> None:
    """The last thing on the screen is the address, and what to type next; in colours."""
    last = up.screen.strip().splitlines()[-6:]
    assert re.fullmatch(r"  Cordboard is up\. Open http://127\.0\.0\.1:\d+", last[0])
    shown = "\n".join(last)
    assert ".venv/bin/cordboard logs --local" in shown
    assert ".venv/bin/cordboard call webrtc:demo" in shown
    assert "\x1b[" in up.written


def test_call_prints_the_command_that_shows_its_log(clone: Clone, up: Terminal) -> None:
    """The README's call, at a terminal; the command that it prints finds its lines, in colours."""
    status, terminal = clone.screen_of(
        "sh",
        "-c",
        ". .venv/bin/activate; cordboard call webrtc:demo --say examples/hello.wav --record answer.wav",
    )
    assert status == 0, terminal.screen
    assert "heard_back" in terminal.screen
    assert (clone.folder / "answer.wav").stat().st_size > 1000
    printed = terminal.screen.strip().splitlines()[-1].split()
    assert printed[:3] == ["cordboard", "logs", "--local"]
    assert "-t" not in printed
    words = [".venv/bin/cordboard", *printed[1:]]
    with clone.at_terminal(*words) as terminal:
        terminal.expect("Join accepted")
        terminal.press(b"G")  # a pager shows them: to its end
        terminal.expect("Session ended")
        terminal.press(b"q")
        assert terminal.ended() == 0
        assert COLOUR.search(terminal.written)
    assert clone.in_pipe(*words).returncode == 0


def test_call_in_a_pipe_has_no_control_sequences(clone: Clone, up: Terminal) -> None:
    """Another program can read it."""
    done = clone.in_pipe(".venv/bin/cordboard", "call", "webrtc:other", *SPEAK, "-o", "json")
    assert done.returncode == 0, done.stderr
    assert '"ok": true' in done.stdout


def test_sessions_lists_the_session(clone: Clone, up: Terminal) -> None:
    """Rows that fit, one for each session."""
    status, screen = clone.both(".venv/bin/cordboard", "sessions")
    assert status == 0
    assert screen


def test_doctor_passes_while_up_runs(clone: Clone, up: Terminal) -> None:
    """One line for each check."""
    status, screen = clone.both(".venv/bin/cordboard", "doctor", "--bot", "examples/echo.py")
    assert status == 0, screen
    assert re.search(r"^ok    up +running \(process \d+\): http", screen, re.MULTILINE)


def test_up_stops_when_its_terminal_closes(clone: Clone, tmp_path: Path) -> None:
    """`up` stops in order even when make leads the session, and alone gets the signal."""
    words = ["make", "up", f"ARGS={' '.join(FREE_PORTS)}"]
    env = {**clone.env, "XDG_STATE_HOME": str(tmp_path)}
    with Terminal(words, cwd=clone.folder, env=env) as terminal:
        terminal.expect("Cordboard is up")
        terminal.hang_up()
        until(
            lambda: terminal.process.poll() is not None, lambda: "an end of make, after its child's"
        )
    assert not (tmp_path / "cordboard" / "up.json").exists()


def test_up_in_a_pipe_writes_json(clone: Clone, tmp_path: Path) -> None:
    """Records instead of a banner; SIGTERM ends it."""
    env = {**clone.env, "XDG_STATE_HOME": str(tmp_path)}
    with subprocess.Popen(
        [".venv/bin/cordboard", "up", *FREE_PORTS],
        cwd=clone.folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout
        for line in process.stdout:
            assert line.startswith('{"timestamp":"'), line
            if '"up.ready"' in line:
                process.terminate()
        assert process.wait(60) == 0


def test_get_logs_script_runs_from_any_directory(clone: Clone) -> None:
    """The script takes the same words as the command, from any folder."""
    script = str(clone.folder / "scripts" / "get-logs.sh")
    clone.env["PWD"] = os.sep
    status, screen = clone.both(script, "--help")
    assert status == 0
    assert screen.startswith("usage: cordboard logs")
