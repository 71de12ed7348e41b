"""The process that reads one session for a page: ``python -m cordboard.interface.log_reader``.

It takes one JSON object on stdin, and writes server-sent events to stdout, or a report to a file:

- ``lines``: rows ``[number, time, level, service, event, text, stack]``
- ``section``: a section of the report, with its id, its label and its HTML; again when it has changed
- ``read``: all lines were read; with their number
- ``problem``: why there are no (further) lines

With ``check`` it asks the log sources instead, and writes their states as JSON.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cordboard.contract.errors import CordboardError
from cordboard.interface.log_sources import LogEnvironment, check_sources
from cordboard.interface.page_events import page_event
from cordboard.logs import environments, report
from cordboard.logs.coverage import Coverage
from cordboard.logs.formats import formats_from
from cordboard.logs.query import Query
from cordboard.logs.reader import Reader
from cordboard.logs.report import html
from cordboard.logs.report.entry import Entry, clean_record, clock, one_line, visible
from cordboard.logs.report.model import Header, ModelMaker
from cordboard.logs.sources.directory import Directory
from cordboard.processes import die_with_parent
from cordboard.settings import load

if TYPE_CHECKING:
    from cordboard.logs.line import Line

NICE: Final = 5
"""Calls come first on a machine that is short of processor time."""
TEXT_MAX: Final = 1_000
ROWS_AT_ONCE: Final = 250
ROWS_EVERY_S: Final = 0.25
SECTIONS_EVERY_S: Final = 2.0
SECTIONS_SHARE: Final = 250
"""Sections are drawn again after so many times the time that drawing takes: at most 0.4 % of a core."""
COVERAGE_EVERY_S: Final = 10.0
"""The coverage looks at the beginnings of all logs, so it is renewed less often than the other sections."""
_ONLY_AT_THE_END: Final = frozenset({"verdict"})
"""Sections that judge a whole session."""
_SO_FAR: Final = frozenset({"coverage", "cause"})
"""Sections of a live session that lines to come may change."""
_SO_FAR_WORDS: Final = '<p class="quiet">So far, while the session lives:</p>\n'
_NEVER: Final = frozenset({"about", "sessions"})
"""Sections whose content the page shows from the session's record."""


class SessionOutput:
    """Turns the lines of a session into events for its page.

    Args:
        header: What was asked for.
        lines_max: The number of lines that are written; all are part of the sections.
    """

    def __init__(self, header: Header, lines_max: int) -> None:
        self._maker = ModelMaker(header)
        self._lines_max = lines_max
        self._rows: list[list[Any]] = []
        self._written: dict[str, str] = {}
        self._has_changed = False
        self._rows_at = self._sections_at = self._coverage_at = 0.0
        self._coverage = Coverage(())
        self.lines = 0

    def add(self, line: "Line") -> None:
        """Take `line`."""
        item = self._maker.add(clean_record(line.record))
        self.lines += 1
        is_first = self.lines == 1
        self._has_changed = self._has_changed or bool(item.event) or item.bad or is_first
        if self.lines <= self._lines_max:
            self._rows.append(_row(item))

    def due(self, coverage: Callable[[], Coverage]) -> Iterator[bytes]:
        """Yield what is to be written now, of a session that is followed.

        Args:
            coverage: Returns the coverage of the lines so far.
        """
        now = time.monotonic()
        if self._rows and now >= self._rows_at:
            self._rows_at = now + ROWS_EVERY_S
            yield from self.rows()
        if self._has_changed and now >= self._sections_at:
            if now >= self._coverage_at:
                self._coverage_at = now + COVERAGE_EVERY_S
                self._coverage = coverage()
            yield from self.sections(self._coverage, is_live=True)
            took_s = time.monotonic() - now
            self._sections_at = now + max(SECTIONS_EVERY_S, SECTIONS_SHARE * took_s)

    def rows(self) -> Iterator[bytes]:
        """Yield the lines that were not written yet."""
        rows, self._rows = self._rows, []
        for start in range(0, len(rows), ROWS_AT_ONCE):
            yield page_event("lines", rows=rows[start : start + ROWS_AT_ONCE])

    def sections(self, coverage: Coverage, *, is_live: bool = False) -> Iterator[bytes]:
        """Yield the sections that have changed.

        Args:
            coverage: The coverage of the lines so far.
            is_live: Whether more lines come.
        """
        self._has_changed = False
        left_out = _NEVER | _ONLY_AT_THE_END if is_live else _NEVER
        for name, label, section in html.sections(self._maker.model(coverage)):
            content = f"{_SO_FAR_WORDS}{section}" if is_live and name in _SO_FAR else section
            if name not in left_out and self._written.get(name) != content:
                self._written[name] = content
                yield page_event("section", id=name, label=label, html=content)


def _row(item: Entry) -> list[Any]:
    text = one_line(" ".join(filter(None, [item.message, item.note])), TEXT_MAX)
    row = [item.index + 1, clock(item.us), item.level, one_line(item.service, 40)]
    stack = visible(item.stack.strip())[: TEXT_MAX * 4]
    return [*row, one_line(item.event or "", 80), text, *([stack] if stack else [])]


def follow(reader: Reader, output: SessionOutput, seconds: float) -> Iterator[bytes]:
    """Yield the events of a live session for some time.

    Args:
        reader: Follows the session.
        output: Collects its lines.
        seconds: How long.
    """
    until = time.monotonic() + seconds
    for lines in reader.arrivals():
        for line in lines:
            output.add(line)
        yield from output.due(reader.coverage)
        if time.monotonic() > until:
            yield page_event("problem", text="The page has stopped following. Reload it to go on.")
            return


def read(reader: Reader, output: SessionOutput) -> Iterator[bytes]:
    """Yield the events of a session that has ended, from the lines of `reader`, which `output` collects."""
    for line in reader.lines():
        output.add(line)
    yield from output.rows()
    yield from output.sections(reader.coverage())
    yield page_event("read", lines=output.lines)


def main() -> int:
    """Read the task, do it; return the exit status."""
    task = json.loads(sys.stdin.readline())
    die_with_parent(task["parent"])
    os.nice(NICE)
    settings = replace(load(task["config"]), log_dir=task["log_folder"])
    environment = LogEnvironment(task["environment"], settings)
    if "check" in task:
        return _check(environment)
    header = Header(
        command=environment.command(task["session"]),
        environment=environment.name,
        session_id=task["session"],
    )
    try:
        reader = _reader(environment, task, header)
        if "path" in task:
            _write_report(reader, header, Path(task["path"]))
            return 0
        output = SessionOutput(header, task["lines_max"])
        is_live = task["follow_from"] is not None
        for event in (
            follow(reader, output, task["seconds_max"]) if is_live else read(reader, output)
        ):
            sys.stdout.buffer.write(event)
            sys.stdout.buffer.flush()
    except CordboardError as error:
        words = f"{error.message} {error.hint}".strip()
        said = words.encode() if "path" in task else page_event("problem", text=words)
        sys.stdout.buffer.write(said)
        return 1
    return 0


def _check(environment: LogEnvironment) -> int:
    try:
        states = [asdict(state) for state in check_sources(environment)]
    except CordboardError as error:
        sys.stdout.write(f"{error.message} {error.hint}".strip())
        return 1
    sys.stdout.write(json.dumps(states))
    return 0


def _reader(environment: LogEnvironment, task: Mapping[str, Any], header: Header) -> Reader:
    query = Query(session=task["session"])
    sources, notes = environment.open(), list[str]()
    if task.get("follow_from"):
        query = query._replace(since=task["follow_from"], follow=True)
    elif len(sources) > 1:
        query, notes = environments.located(query, sources)
    for source in sources:
        if isinstance(source, Directory):
            source.confined = True
    return Reader(
        query,
        sources,
        formats_from(environment.settings.logs),
        notes=notes,
        command=lambda: header.command,
    )


def _write_report(reader: Reader, header: Header, path: Path) -> None:
    is_bundle = path.suffix == ".zip"
    report.hand_over(
        reader.lines(),
        reader.coverage,
        header,
        reports=() if is_bundle else (path,),
        zip_path=path if is_bundle else None,
    )


if __name__ == "__main__":
    sys.exit(main())
