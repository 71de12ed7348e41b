"""Reports and hand-overs of lines that were read: a page, a text, a folder, an archive.

``hand_over`` takes lines one by one, in the order in which they are to be shown, and keeps a bounded part of them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

from cordboard.contract.redaction import redact
from cordboard.logs.coverage import Coverage
from cordboard.logs.line import Line, kept_line
from cordboard.logs.report import bundle, html, text
from cordboard.logs.report.entry import Entry, HeadTail, clean_raw, clean_record
from cordboard.logs.report.model import Header, Model, ModelMaker

__all__ = ["Header", "hand_over"]

README: Final = """\
report.html    the report, for a browser; needs no network
report.txt     the same report as plain text
lines/         the lines, one file per source; secrets are redacted
coverage.json  what each source, service and container returned, and what is missing
versions.json  the versions of the programs that created this bundle
"""


def hand_over(
    lines: Iterable[Line],
    coverage: Coverage | Callable[[], Coverage],
    header: Header,
    *,
    reports: Sequence[Path | str] = (),
    directory: Path | str | None = None,
    zip_path: Path | str | None = None,
) -> None:
    """Write reports, a collection and a bundle from lines that are read once.

    Args:
        lines: The lines.
        coverage: Their coverage; a function is asked when they have ended, because it is often known only then.
        header: How they were asked for.
        reports: Files whose names end in ``.html`` or ``.txt``; older ones of that name are replaced at the end.
        directory: A new folder for the raw lines, one file a source, and the coverage.
        zip_path: A new archive for somebody else: raw lines without secrets, both reports, coverage, versions.

    Raises:
        CordboardError: Something could not be written; of that nothing is left behind.
    """
    targets = [Path(report) for report in reports]
    suffixes = {target.suffix.lower() for target in targets}
    made = _Reports(header, suffixes if zip_path is None else set(bundle.REPORT_SUFFIXES))
    with ExitStack() as stack:
        takers: list[Callable[[Line], None]] = [made.add] if targets or zip_path else []
        if directory is not None:
            filled = stack.enter_context(bundle.filled(Path(directory)))
            collection = bundle.Spread(filled, kept_line)
            takers.append(collection.add)
        if zip_path is not None:
            archive = stack.enter_context(bundle.written(Path(zip_path), new=True))
            folder = stack.enter_context(bundle.scratch(Path(zip_path)))
            spread = bundle.Spread(folder / "lines", lambda line: clean_raw(kept_line(line)))
            takers.append(spread.add)
        for line in lines:
            for take in takers:
                take(line)
        known = coverage if isinstance(coverage, Coverage) else coverage()
        model = made.maker.model(known)
        for target in targets:
            bundle.write(target, made.pieces(model, target.suffix.lower()))
        if directory is not None:
            collection.flush()
            bundle.write(collection.folder / "coverage.json", [bundle.coverage_json(known)])
        if zip_path is not None:
            spread.flush()
            _pack(archive, folder, made, model)


def _pack(archive: BinaryIO, folder: Path, made: "_Reports", model: Model) -> None:
    """Write the files of a bundle beside its lines, and the archive of all."""
    for suffix in bundle.REPORT_SUFFIXES:
        bundle.write(folder / f"report{suffix}", made.pieces(model, suffix))
    bundle.write(folder / "README.txt", [README])
    bundle.write(folder / "coverage.json", [bundle.coverage_json(model.coverage)])
    bundle.write(folder / "versions.json", [bundle.versions_json()])
    bundle.pack(archive, folder)


class _Reports:
    """Lines on their way into reports: cleaned once, bounded, in the forms that are wanted.

    Args:
        header: How they were asked for.
        suffixes: Of the files that are wanted.
    """

    def __init__(self, header: Header, suffixes: set[str]) -> None:
        made_at = header.made_at or datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        header = replace(header, made_at=made_at, command=redact(header.command))
        self.maker = ModelMaker(header)
        self._rows = html.RowMaker() if ".html" in suffixes else None
        self._entries: HeadTail[Entry] | None = None
        if ".txt" in suffixes:
            self._entries = HeadTail(html.LINES_MAX, html.LINES_MAX_CHARS)

    def add(self, line: Line) -> None:
        """Take one line."""
        record = clean_record(line.record)
        item = self.maker.add(record)
        if self._rows is not None:
            inferred = f": {line.inferred_from}" if line.inferred_from else ""
            self._rows.add(record, line.source, f"{line.attribution}{inferred}")
        if self._entries is not None:
            self._entries.add(item, len(line.raw))

    def pieces(self, model: Model, suffix: str) -> Iterator[str]:
        """Give the report of one form."""
        if suffix == ".html" and self._rows is not None:
            yield from html.page(model, self._rows)
        elif self._entries is not None:
            for line in text.report(model, self._entries, self._entries.left_out):
                yield f"{line}\n"
