"""The output of `cordboard logs`: formats of lines, pager, progress, the table of coverage."""

import sys
import time
from _thread import get_ident
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Final, Literal, NoReturn

from cordboard.contract.terminal import escape_controls, escape_controls_in_json, escape_to_one_line
from cordboard.environment import is_color_disabled, pager_command
from cordboard.logs.coverage import Answer, Coverage, count

if TYPE_CHECKING:
    import argparse
    import subprocess

    from cordboard.logs.line import Line

Format = Literal["pretty", "json", "raw"]
EXIT_COMPLETE: Final = 0
EXIT_INCOMPLETE: Final = 3
_PROGRESS_AFTER_S: Final = 1.0  # shorter queries would only flicker
_PROGRESS_EVERY_S: Final = 0.2
_MEGABYTE: Final = 1_000_000
# A cluster has hundreds of containers; a table of more rows pushes the lines off the screen.
_ROWS_MAX: Final = 40
_SHORTFALLS_MAX: Final = 12
# Files have a row only if something is missing: a folder may hold thousands of complete ones.
_QUIET_KINDS: Final = frozenset({"file"})


class Progress:
    """Shows on a terminal how much a slow query has read.

    Args:
        shown: Whether anything is shown.
        after_s: Seconds before the first output.
        every_s: Seconds between two outputs.
    """

    def __init__(
        self,
        *,
        shown: bool,
        after_s: float = _PROGRESS_AFTER_S,
        every_s: float = _PROGRESS_EVERY_S,
    ) -> None:
        self._shown = shown
        # Only this thread writes: a daemon thread that holds stderr's lock at exit aborts Python.
        self._thread = get_ident()
        self._bytes = 0
        self._began = time.monotonic()
        self._next = self._began + after_s
        self._every_s = every_s
        self._visible = False

    def __call__(self, count: int) -> None:
        """Add ``count`` bytes that were read."""
        self._bytes += count
        if not self._shown or get_ident() != self._thread:
            return
        if (now := time.monotonic()) >= self._next:
            self._next = now + self._every_s
            self._visible = True
            rate = self._bytes / _MEGABYTE / (now - self._began)
            sys.stderr.write(
                f"\r\x1b[Kreading: {self._bytes / _MEGABYTE:,.0f} MB, {rate:,.0f} MB/s"
            )
            sys.stderr.flush()

    def clear(self) -> None:
        """Clear the progress for good, because lines follow."""
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
def output(*, is_paged: bool) -> Iterator[IO[bytes]]:
    """Return a context manager of the file to which lines are written.

    Args:
        is_paged: Whether to start the user's pager, if there is one, instead of writing to stdout.
    """
    pager = _pager() if is_paged else None
    if pager is None or pager.stdin is None:
        yield sys.stdout.buffer
        sys.stdout.flush()
        return
    try:
        yield pager.stdin
    finally:
        with suppress(BrokenPipeError):  # the user left the pager before the end
            pager.stdin.close()
        while pager.poll() is None:
            with suppress(KeyboardInterrupt):  # Ctrl-C is for the pager while it runs
                pager.wait()


@contextmanager
def sigterm_as_exit() -> Iterator[None]:
    """Raise `SystemExit` on SIGTERM inside the block, so that incomplete files are removed."""
    from signal import SIGTERM, signal

    def end(number: int, _: object) -> NoReturn:
        raise SystemExit(128 + number)  # as shells report a signal

    before = signal(SIGTERM, end)
    try:
        yield
    finally:
        signal(SIGTERM, before)


class Tee:
    """Prints lines that are also written to files; the files continue when stdout is closed.

    Args:
        render: Renders a line.
        before_line: Is called before each line, to clear the progress.
        is_flushed: Whether to flush stdout after each line.
    """

    def __init__(
        self,
        render: Callable[["Line"], bytes],
        before_line: Callable[[], None],
        *,
        is_flushed: bool,
    ) -> None:
        self._render = render
        self._before_line = before_line
        self._is_flushed = is_flushed
        self._error: OSError | None = None

    def lines(self, lines: Iterable["Line"]) -> Iterator["Line"]:
        """Yield ``lines`` unchanged, and print them."""
        for line in lines:
            self._print(line)
            yield line

    def end(self) -> None:
        """Raise the error of stdout, if any, now that the files are complete."""
        if self._error is not None:
            raise self._error
        sys.stdout.flush()

    def _print(self, line: "Line") -> None:
        if self._error is not None:
            return
        self._before_line()
        chunk = self._render(line)
        try:
            sys.stdout.buffer.write(chunk)
            if self._is_flushed:
                sys.stdout.buffer.flush()
        except OSError as error:
            self._error = error


def format_of(args: "argparse.Namespace") -> Format:
    """Return the format of lines on stdout: the one in ``args``, or what suits a terminal or a program."""
    form: Format = args.output or ("pretty" if sys.stdout.isatty() else "json")
    return form


def renderer(form: Format, *, sessions: bool) -> "Callable[[Line], bytes]":
    """Return a function that renders a line for stdout.

    Args:
        form: The format.
        sessions: Whether lines belong to several sessions; ``pretty`` then names them.
    """
    if form == "pretty":
        from cordboard.logs.pretty import Pretty

        pretty = Pretty(color=has_color(sys.stdout), sessions=sessions)
        return lambda line: pretty(line).encode("utf-8", "replace")
    from cordboard.logs.line import json_line, raw_line

    render = raw_line if form == "raw" else json_line
    return (lambda line: escaped(render(line), form)) if sys.stdout.isatty() else render


def escaped(chunk: bytes, form: Format) -> bytes:
    """Return ``chunk``, lines in the format ``form``, with control characters made visible."""
    text = chunk.decode("utf-8", "surrogateescape")
    return (escape_controls_in_json if form == "json" else escape_controls)(text).encode()


def has_color(stream: IO[str]) -> bool:
    """Return whether output to ``stream`` is colored."""
    return stream.isatty() and not is_color_disabled()


def print_coverage(coverage: Coverage) -> None:
    """Print ``coverage`` as a table on stderr, after the lines on stdout."""
    is_colored = has_color(sys.stderr)
    sys.stdout.flush()
    sys.stderr.write(
        coverage_table(
            coverage, lambda code, text: f"\x1b[{code}m{text}\x1b[0m" if is_colored else text
        )
    )


def exit_status(coverage: Coverage) -> int:
    """Return the exit status of an answer with this coverage."""
    return EXIT_COMPLETE if coverage.complete else EXIT_INCOMPLETE


def coverage_table(coverage: Coverage, paint: Callable[[str, str], str]) -> str:
    """Return ``coverage`` as a short table: what answered, and everything that is missing.

    Args:
        coverage: The coverage.
        paint: Returns a text in a color, from the color's code and the text.
    """
    answers = [answer for answer in coverage.answers if _is_shown(answer)]
    if len(answers) > _ROWS_MAX:
        answers.sort(key=lambda answer: not answer.shortfalls)
    shown = answers[:_ROWS_MAX]
    rows = [_row(answer) for answer in shown]
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(3)]
    lines = [_verdict(coverage, paint)]
    for answer, row in zip(shown, rows, strict=True):
        cells = [row[0].ljust(widths[0]), row[1].rjust(widths[1]), row[2].ljust(widths[2])]
        lines.append(f"  {'  '.join(cells)}".rstrip())
        lines += [f"    {paint('33', words)}" for words in _shortfalls(answer)]
    if len(answers) > len(shown):
        lines.append(f"  and {len(answers) - len(shown)} more; --coverage FILE has all")
    return "\n".join([*lines, *(f"  {escape_to_one_line(note)}" for note in coverage.notes)]) + "\n"


def _verdict(coverage: Coverage, paint: Callable[[str, str], str]) -> str:
    lines = sum(coverage.attribution.values())
    attribution = ", ".join(f"{n:,} {how}" for how, n in coverage.attribution.items() if n)
    counts = ", ".join(f"{n:,} {what}" for what, n in coverage.counts.items() if n)
    head = "complete" if coverage.complete else "incomplete"
    painted = paint("32" if coverage.complete else "1;33", f"coverage: {head}")
    said = f"{painted}, {count(lines, 'line')}{f' ({attribution})' if attribution else ''}"
    return f"{said}; {counts}" if counts else said


def _is_shown(answer: Answer) -> bool:
    return bool(answer.shortfalls) or answer.kind not in _QUIET_KINDS


def _row(answer: Answer) -> tuple[str, str, str]:
    span = f"{answer.first} to {answer.last}" if answer.first else ""
    return escape_to_one_line(answer.name), count(answer.lines, "line"), escape_to_one_line(span)


def _shortfalls(answer: Answer) -> list[str]:
    words = [item.words for item in answer.shortfalls]
    shown = [escape_to_one_line(text) for text in words[:_SHORTFALLS_MAX]]
    if len(words) > len(shown):
        shown.append(f"and {len(words) - len(shown)} more; --coverage FILE has all")
    return shown


def print_status(args: "argparse.Namespace", message: str) -> None:
    """Print ``message``, which may quote a server, on stderr, unless ``--quiet`` is in ``args``."""
    if not args.quiet:
        sys.stderr.write(f"{escape_to_one_line(message)}\n")
