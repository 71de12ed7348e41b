"""What `cordboard logs` shows beside lines: the pager, progress, the coverage as a table."""

import sys
import time
from _thread import get_ident
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Final, NoReturn

from cordboard.contract.terminal import escape_controls, escape_controls_in_json, escape_to_one_line
from cordboard.environment import pager_command
from cordboard.logs.coverage import REASONS, Answer, Coverage, count

if TYPE_CHECKING:
    import subprocess

    from cordboard.logs.line import Line

_PROGRESS_AFTER_S: Final = 1.0
_PROGRESS_EVERY_S: Final = 0.2
_MEGABYTE: Final = 1_000_000
_ROWS_MAX: Final = 40
_SHORTFALLS_SHOWN: Final = 12
_QUIET_KINDS: Final = frozenset({"file"})


class Progress:
    """Tells on a terminal how far a slow query is."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._home = get_ident()  # no other thread writes: one that does at the end aborts us
        self._bytes = 0
        self._began = time.monotonic()
        self._next = self._began + _PROGRESS_AFTER_S
        self._visible = False

    def __call__(self, count: int) -> None:
        """Take note of bytes that were read."""
        self._bytes += count
        if not self._shown or get_ident() != self._home:
            return
        if (now := time.monotonic()) >= self._next:
            self._next = now + _PROGRESS_EVERY_S
            self._visible = True
            rate = self._bytes / _MEGABYTE / (now - self._began)
            sys.stderr.write(
                f"\r\x1b[Kreading: {self._bytes / _MEGABYTE:,.0f} MB, {rate:,.0f} MB/s"
            )
            sys.stderr.flush()

    def clear(self) -> None:
        """Take it away; lines follow."""
        self._shown = False
        if self._visible:
            self._visible = False
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _pager() -> "subprocess.Popen[bytes] | None":
    import shlex
    import shutil
    import subprocess

    command = pager_command()
    if command is None or shutil.which(shlex.split(command)[0]) is None:
        return None
    return subprocess.Popen(shlex.split(command), stdin=subprocess.PIPE)


@contextmanager
def output(*, paged: bool) -> Iterator[IO[bytes]]:
    """Give what lines are written to: a pager where the user sits at a terminal, else stdout."""
    pager = _pager() if paged else None
    if pager is None:
        yield sys.stdout.buffer
        sys.stdout.flush()
        return
    assert pager.stdin is not None  # noqa: S101 - it is a pipe
    try:
        yield pager.stdin
    finally:
        with suppress(BrokenPipeError):  # the user has seen enough
            pager.stdin.close()
        while pager.poll() is None:
            with suppress(KeyboardInterrupt):  # Ctrl-C is the pager's while it is on the screen
                pager.wait()


@contextmanager
def left_clean() -> Iterator[None]:
    """Let SIGTERM end a block as Ctrl-C does: what is half written is taken away."""
    from signal import SIGTERM, signal

    def end(number: int, _: object) -> NoReturn:
        raise SystemExit(128 + number)  # what shells give for a signal

    before = signal(SIGTERM, end)
    try:
        yield
    finally:
        signal(SIGTERM, before)


class Tee:
    """Shows lines on stdout while they pass on into files, which go on when stdout has gone.

    Args:
        render: Makes the bytes of a line.
        begin: Is called before the first one.
        flushed: Show each line at once.
    """

    def __init__(
        self, render: Callable[["Line"], bytes], begin: Callable[[], None], *, flushed: bool
    ) -> None:
        self._render = render
        self._begin = begin
        self._flushed = flushed
        self._gone: OSError | None = None

    def lines(self, lines: Iterable["Line"]) -> Iterator["Line"]:
        """Yield the same lines."""
        for line in lines:
            self._show(line)
            yield line

    def end(self) -> None:
        """Tell, now that the files are whole, that nobody has read to the end."""
        if self._gone is not None:
            raise self._gone
        sys.stdout.flush()

    def _show(self, line: "Line") -> None:
        if self._gone is not None:
            return
        self._begin()
        piece = self._render(line)
        try:
            sys.stdout.buffer.write(piece)
            if self._flushed:
                sys.stdout.buffer.flush()
        except OSError as error:
            self._gone = error


def shown(piece: bytes, form: str) -> bytes:
    """Return lines for a terminal with control characters made visible; in JSON as its escapes."""
    if form == "pretty":
        return piece
    text = piece.decode("utf-8", "surrogateescape")
    return (escape_controls_in_json if form == "json" else escape_controls)(text).encode()


def coverage_table(coverage: Coverage, paint: Callable[[str, str], str]) -> str:
    """Return a coverage as a short table: who answered, and all that is missing."""
    wanted = [answer for answer in coverage.answers if _is_shown(answer)]
    if len(wanted) > _ROWS_MAX:
        wanted.sort(key=lambda answer: not answer.shortfalls)
    shown = wanted[:_ROWS_MAX]
    rows = [_row(answer) for answer in shown]
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(3)]
    lines = [_verdict(coverage, paint)]
    for answer, row in zip(shown, rows, strict=True):
        cells = [row[0].ljust(widths[0]), row[1].rjust(widths[1]), row[2].ljust(widths[2])]
        lines.append(f"  {'  '.join(cells)}".rstrip())
        lines += [f"    {paint('33', words)}" for words in _shortfalls(answer)]
    if len(wanted) > len(shown):
        lines.append(f"  and {len(wanted) - len(shown)} more; --coverage FILE has all")
    return "\n".join([*lines, *(f"  {escape_to_one_line(note)}" for note in coverage.notes)]) + "\n"


def _verdict(coverage: Coverage, paint: Callable[[str, str], str]) -> str:
    lines = sum(coverage.attribution.values())
    said = ", ".join(f"{n:,} {how}" for how, n in coverage.attribution.items() if n)
    counted = ", ".join(f"{n:,} {what}" for what, n in coverage.counts.items() if n)
    head = "complete" if coverage.complete else "incomplete"
    painted = paint("32" if coverage.complete else "1;33", f"coverage: {head}")
    return "; ".join(
        filter(None, [f"{painted}, {count(lines, 'line')}{f' ({said})' if said else ''}", counted])
    )


def _is_shown(answer: Answer) -> bool:
    return bool(answer.shortfalls) or answer.kind not in _QUIET_KINDS


def _row(answer: Answer) -> tuple[str, str, str]:
    span = f"{answer.first} to {answer.last}" if answer.first else ""
    return escape_to_one_line(answer.name), count(answer.lines, "line"), escape_to_one_line(span)


def _shortfalls(answer: Answer) -> list[str]:
    words = [
        f"{item.reason}: {REASONS.get(item.reason, '')}{f' ({item.detail})' if item.detail else ''}"
        for item in answer.shortfalls
    ]
    shown = [escape_to_one_line(text) for text in words[:_SHORTFALLS_SHOWN]]
    if len(words) > len(shown):
        shown.append(f"and {len(words) - len(shown)} more; --coverage FILE has all")
    return shown
