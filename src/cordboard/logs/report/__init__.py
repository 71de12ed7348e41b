"""Reports and hand-overs of lines that were read: a page, a text, a folder, an archive.

Each entry point takes lines one by one, in the order in which they are to be shown, and keeps a
bounded part of them. ``coverage`` may be a function, asked when the lines have ended, because it is
often known only then.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cordboard.contract.redaction import redact
from cordboard.logs.coverage import Coverage
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
from cordboard.logs.report.rows import LINES_MAX, RowMaker

__all__ = [
    "Header",
    "bundle",
    "check_bundle_path",
    "check_collect_path",
    "check_report_path",
    "collect",
    "write_report",
]

CoverageOrLater = Coverage | Callable[[], Coverage]

TEXT_LINES_MAX: Final = LINES_MAX
README: Final = """\
report.html    open it in a browser; it needs no network
report.txt     the same as plain text
lines/         the lines as they were found, one file a source; secrets are redacted
coverage.json  what should have answered, what it returned, and what is missing
versions.json  which programs made this
"""


class _Gathering:
    """Lines on their way into reports: cleaned once, bounded, in the forms that are wanted."""

    def __init__(self, header: Header, *, as_html: bool, as_text: bool) -> None:
        made_at = header.made_at or datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        self._header = replace(header, made_at=made_at, command=redact(header.command))
        self._maker = ModelMaker(self._header)
        self._rows = RowMaker() if as_html else None
        self._entries: HeadTail[Entry] | None = HeadTail(TEXT_LINES_MAX) if as_text else None

    def add(self, line: Line) -> None:
        record = clean_record(line.record)
        self._maker.add(record)
        if self._rows is not None:
            self._rows.add(record, line.source, _attribution(line))
        if self._entries is not None:
            self._entries.add(entry(self._entries.added, record, self._header.session_id))

    def pieces(self, coverage: Coverage, suffix: str) -> Iterator[bytes]:
        """Give the report of one form."""
        model = self._maker.model(coverage)
        if suffix == ".html" and self._rows is not None:
            for piece in html.page(model, self._rows):
                yield piece.encode()
        elif self._entries is not None:
            for words in text.report(model, self._entries, self._entries.left_out):
                yield f"{words}\n".encode()


def write_report(
    path: Path | str, lines: Iterable[Line], coverage: CoverageOrLater, header: Header
) -> None:
    """Write one report, ``.html`` or ``.txt``; an older one of that name is replaced at the end.

    Raises:
        UsageError: The path will not do; no line has been read.
        CordboardError: It could not be written.
    """
    target = check_report_path(Path(path))
    suffix = target.suffix.lower()
    gathering = _Gathering(header, as_html=suffix == ".html", as_text=suffix == ".txt")
    for line in lines:
        gathering.add(line)
    with written(target) as file:
        file.writelines(gathering.pieces(_now(coverage), suffix))


def collect(
    directory: Path | str, lines: Iterable[Line], coverage: CoverageOrLater
) -> dict[str, int]:
    """Write raw lines into a new folder, one file a source, and the coverage beside them.

    Returns:
        Lines by the name of their file.

    Raises:
        UsageError: The folder exists already; no line has been read.
        CordboardError: It could not be written; nothing is left behind.
    """
    target = check_collect_path(Path(directory))
    with filled(target) as folder:
        spread = Spread(folder)
        for line in lines:
            spread.add(line.source, line.raw)
        spread.flush()
        (folder / "coverage.json").write_bytes(coverage_json(_now(coverage)))
    return dict(spread.lines)


def bundle(
    zip_path: Path | str, lines: Iterable[Line], coverage: CoverageOrLater, header: Header
) -> dict[str, int]:
    """Write an archive for somebody else: raw lines, both reports, coverage, versions.

    Returns:
        Lines by the name of their file.

    Raises:
        UsageError: The path will not do, or exists; no line has been read.
        CordboardError: It could not be written; nothing is left behind.
    """
    target = check_bundle_path(Path(zip_path))
    gathering = _Gathering(header, as_html=True, as_text=True)
    with scratch(target) as folder, written(target, new=True) as archive:
        spread = Spread(folder)
        for line in lines:
            gathering.add(line)
            spread.add(line.source, clean_raw(line.raw))
        spread.flush()
        known = _now(coverage)
        contents = {
            "README.txt": README.encode(),
            "report.html": b"".join(gathering.pieces(known, ".html")),
            "report.txt": b"".join(gathering.pieces(known, ".txt")),
            "coverage.json": coverage_json(known),
            "versions.json": versions_json(),
        }
        pack(archive, contents, folder, "lines")
    return dict(spread.lines)


def _now(coverage: CoverageOrLater) -> Coverage:
    return coverage if isinstance(coverage, Coverage) else coverage()


def _attribution(line: Line) -> str:
    return (
        f"{line.attribution} from {line.inferred_from}" if line.inferred_from else line.attribution
    )
