"""Reports and hand-overs of lines that were read: a page, a text, a folder, an archive.

Each entry point takes lines one by one, in the order in which they are to be shown, and keeps a
bounded part of them; ``hand_over`` serves several at once. ``coverage`` may be a function, asked
when the lines have ended, because it is often known only then.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cordboard.contract.redaction import redact
from cordboard.logs.coverage import Coverage
from cordboard.logs.json_form import kept_line
from cordboard.logs.line import Line
from cordboard.logs.report import html, text
from cordboard.logs.report.bounded import HeadTail
from cordboard.logs.report.clean import clean_raw, clean_record
from cordboard.logs.report.entry import Entry, entry
from cordboard.logs.report.files import (
    check_bundle_path,
    check_collect_path,
    check_report_path,
    filled,
    scratch,
    written,
)
from cordboard.logs.report.handover import Spread, coverage_json, pack, versions_json
from cordboard.logs.report.header import Header
from cordboard.logs.report.model import ModelMaker
from cordboard.logs.report.rows import LINES_MAX, LINES_MAX_CHARS, RowMaker

__all__ = [
    "Header",
    "bundle",
    "check_bundle_path",
    "check_collect_path",
    "check_report_path",
    "collect",
    "hand_over",
    "write_report",
]

CoverageOrLater = Coverage | Callable[[], Coverage]

TEXT_LINES_MAX: Final = LINES_MAX
README: Final = """\
report.html    the report, for a browser; needs no network
report.txt     the same report as plain text
lines/         the lines, one file per source; secrets are redacted
coverage.json  what each source, service and container returned, and what is missing
versions.json  the versions of the programs that created this bundle
"""


class _Gathering:
    """Lines on their way into reports: cleaned once, bounded, in the forms that are wanted."""

    def __init__(self, header: Header, *, as_html: bool, as_text: bool) -> None:
        made_at = header.made_at or datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        self._header = replace(header, made_at=made_at, command=redact(header.command))
        self._maker = ModelMaker(self._header)
        self._rows = RowMaker() if as_html else None
        self._entries: HeadTail[Entry] | None = (
            HeadTail(TEXT_LINES_MAX, LINES_MAX_CHARS) if as_text else None
        )

    def add(self, line: Line) -> None:
        record = clean_record(line.record)
        self._maker.add(record)
        if self._rows is not None:
            self._rows.add(record, line.source, _attribution(line))
        if self._entries is not None:
            item = entry(self._entries.added, record, self._header.session_id)
            self._entries.add(item, len(line.raw))

    def pieces(self, coverage: Coverage, suffix: str) -> Iterator[bytes]:
        """Give the report of one form."""
        model = self._maker.model(coverage)
        if suffix == ".html" and self._rows is not None:
            for piece in html.page(model, self._rows):
                yield piece.encode()
        elif self._entries is not None:
            for words in text.report(model, self._entries, self._entries.left_out):
                yield f"{words}\n".encode()


@dataclass(frozen=True, slots=True)
class _Sink:
    """Something that lines go into; ``finish`` is told of the coverage when they have ended."""

    add: Callable[[Line], None]
    finish: Callable[[Coverage], None]


def write_report(
    path: Path | str, lines: Iterable[Line], coverage: CoverageOrLater, header: Header
) -> None:
    """Write one report, ``.html`` or ``.txt``; an older one of that name is replaced at the end.

    Raises:
        UsageError: The path will not do; no line has been read.
        CordboardError: It could not be written.
    """
    hand_over(lines, coverage, header, reports=[path])


def collect(directory: Path | str, lines: Iterable[Line], coverage: CoverageOrLater) -> None:
    """Write raw lines into a new folder, one file a source, and the coverage beside them.

    Raises:
        UsageError: The folder exists already; no line has been read.
        CordboardError: It could not be written; nothing is left behind.
    """
    hand_over(lines, coverage, Header(), directory=directory)


def bundle(
    zip_path: Path | str, lines: Iterable[Line], coverage: CoverageOrLater, header: Header
) -> None:
    """Write an archive for somebody else: raw lines, both reports, coverage, versions.

    Raises:
        UsageError: The path will not do, or exists; no line has been read.
        CordboardError: It could not be written; nothing is left behind.
    """
    hand_over(lines, coverage, header, zip_path=zip_path)


def hand_over(
    lines: Iterable[Line],
    coverage: CoverageOrLater,
    header: Header,
    *,
    reports: Sequence[Path | str] = (),
    directory: Path | str | None = None,
    zip_path: Path | str | None = None,
) -> None:
    """Write any of the above from lines that are read once; all paths are checked before.

    Raises:
        UsageError: A path will not do; no line has been read.
        CordboardError: Something could not be written.
    """
    wanted = [
        *(_report(check_report_path(Path(report)), header) for report in reports),
        _collection(check_collect_path(Path(directory))) if directory is not None else None,
        _bundle(check_bundle_path(Path(zip_path)), header) if zip_path is not None else None,
    ]
    with ExitStack() as stack:
        sinks = [stack.enter_context(sink) for sink in wanted if sink is not None]
        for line in lines:
            for sink in sinks:
                sink.add(line)
        known = coverage if isinstance(coverage, Coverage) else coverage()
        for sink in sinks:
            sink.finish(known)


@contextmanager
def _report(target: Path, header: Header) -> Iterator[_Sink]:
    suffix = target.suffix.lower()
    gathering = _Gathering(header, as_html=suffix == ".html", as_text=suffix == ".txt")

    def finish(coverage: Coverage) -> None:
        with written(target) as file:
            file.writelines(gathering.pieces(coverage, suffix))

    yield _Sink(gathering.add, finish)


@contextmanager
def _collection(target: Path) -> Iterator[_Sink]:
    with filled(target) as folder:
        spread = Spread(folder)

        def finish(coverage: Coverage) -> None:
            spread.flush()
            with written(folder / "coverage.json") as file:
                file.write(coverage_json(coverage))

        yield _Sink(lambda line: spread.add(line.source, kept_line(line)), finish)


@contextmanager
def _bundle(target: Path, header: Header) -> Iterator[_Sink]:
    gathering = _Gathering(header, as_html=True, as_text=True)
    with scratch(target) as folder, written(target, new=True) as archive:
        spread = Spread(folder)

        def add(line: Line) -> None:
            gathering.add(line)
            spread.add(line.source, clean_raw(kept_line(line)))

        def finish(coverage: Coverage) -> None:
            spread.flush()
            contents = {
                "README.txt": README.encode(),
                "report.html": b"".join(gathering.pieces(coverage, ".html")),
                "report.txt": b"".join(gathering.pieces(coverage, ".txt")),
                "coverage.json": coverage_json(coverage),
                "versions.json": versions_json(),
            }
            pack(archive, contents, folder, "lines")

        yield _Sink(add, finish)


def _attribution(line: Line) -> str:
    return f"{line.attribution}: {line.inferred_from}" if line.inferred_from else line.attribution
