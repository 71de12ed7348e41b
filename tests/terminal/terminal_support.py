"""Commands at a terminal: a session of its own on a pseudo-terminal, and the screen as a person sees it."""

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parents[2]
# Generous: the tests wait for what must happen, and are slow only where it does not.
PATIENCE_S = 60.0
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# Becomes the program, once the terminal is the controlling one of its session. A test run in the
# background ignores SIGINT and SIGQUIT, and a shell cannot trap what is ignored when it starts.
_TAKE_TERMINAL = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGPIPE):
    signal.signal(number, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])
"""
_CONTROL = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")


class Terminal:
    """A program that has a terminal of its own, as its controlling terminal."""

    def __init__(
        self,
        words: list[str],
        *,
        cwd: Path = ROOT,
        env: Mapping[str, str] | None = None,
        columns: int = 120,
    ) -> None:
        """Start the program."""
        self._ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", _TAKE_TERMINAL, *words],
            cwd=cwd,
            env={"PATH": os.environ["PATH"], "TERM": "xterm-256color", **(env or {})},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self._bytes = b""

    def __enter__(self) -> Self:
        """Return it; it is closed at the end of the block."""
        return self

    def __exit__(self, *_failure: object) -> None:
        """Leave nothing behind, whatever failed."""
        self.close()

    def read(self, wait_s: float = 0.05) -> bool:
        """Take what was written meanwhile; return whether more may come."""
        while self._ours >= 0 and select.select([self._ours], [], [], wait_s)[0]:
            try:
                got = os.read(self._ours, 65536)
            except OSError:  # nobody has the terminal open any more
                got = b""
            if not got:
                return False
            self._bytes += got
        return self._ours >= 0

    @property
    def written(self) -> str:
        """All that was written, with its control sequences."""
        self.read(0)
        return self._bytes.decode(errors="replace")

    @property
    def screen(self) -> str:
        """What can be read on the terminal, lines that have scrolled away included."""
        return screen(self.written)

    def expect(self, text: str) -> None:
        """Wait until the text has been on the screen."""
        until(lambda: text in self.screen or not self.read(), lambda: f"{text!r} in\n{self.screen}")
        assert text in self.screen, self.screen

    def press(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._ours, keys)

    def hang_up(self) -> None:
        """Close the window."""
        if self._ours >= 0:
            os.close(self._ours)
            self._ours = -1

    def ended(self) -> int:
        """Wait for the end; return the status."""
        until(lambda: not self.read() or self._gone(), lambda: f"an end after\n{self.screen}")
        return self.process.wait(PATIENCE_S)

    def _gone(self) -> bool:
        return self.process.poll() is not None

    def close(self) -> None:
        """End what is left."""
        self.hang_up()
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def screen(written: str) -> str:
    """Return the text that a terminal shows for this output.

    Knows what the project writes: line ends, carriage return, backspace, erasing to the line's end, colours.
    Anything else is left where it is, so that a test that reads the screen sees it.
    """
    lines = [""]
    column = 0
    for piece in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n\b]|[^\x1b\r\n\b]+|\x1b", written):
        control = _CONTROL.fullmatch(piece)
        if piece == "\n":
            lines.append("")
            column = 0
        elif piece == "\r":
            column = 0
        elif piece == "\b":
            column = max(0, column - 1)
        elif control and control[2] == "K":
            lines[-1] = lines[-1][:column]
        elif not (control and control[2] == "m"):
            lines[-1] = lines[-1][:column].ljust(column) + piece + lines[-1][column + len(piece) :]
            column += len(piece)
    return "\n".join(line.rstrip() for line in lines)


def until(true: Callable[[], bool], wanted: Callable[[], str]) -> None:
    """Wait until it is true."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:.0f} s: {wanted()}"
        time.sleep(0.02)


def processes_in(folder: Path, *, naming: str = "") -> list[int]:
    """Return the processes whose working directory is there, and whose command line has the text."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            here = (entry / "cwd").readlink()
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if here == folder and naming in words:
            found.append(int(entry.name))
    return found
