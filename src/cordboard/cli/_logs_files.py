"""The files that `cordboard logs` writes: reports, collections, bundles, the coverage."""

import argparse
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from cordboard.contract.errors import CordboardError, UsageError

if TYPE_CHECKING:
    from cordboard.logs.coverage import Coverage
    from cordboard.logs.line import Line
    from cordboard.logs.query import Query
    from cordboard.logs.reader import Reader
    from cordboard.logs.report import Header


def check_targets(args: argparse.Namespace) -> None:
    """Check before anything is read that the files named in ``args`` can be written.

    Raises:
        UsageError: A file cannot be written.
    """
    for name in ("coverage", "report", "collect", "bundle"):
        if getattr(args, name) in ("-", ["-"]):
            raise UsageError(f"--{name} -: expected a name; stdout is for the lines.")
    args.report = list(dict.fromkeys(args.report))
    if args.coverage:
        _check_coverage_path(args.coverage)
    if not (args.report or args.collect or args.bundle):
        return
    if args.follow:
        raise UsageError("-f does not end, and files are written at the end.", hint="Leave out -f.")
    from pathlib import Path

    from cordboard.logs import report

    paths = [("--collect", args.collect), *(("--report", path) for path in args.report)]
    for option, path in [*paths, ("--bundle", args.bundle)]:
        if path:
            report.check_target(option, Path(path))


def _check_coverage_path(path: str) -> None:
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise UsageError(f"--coverage {path}: {folder} is not a directory.")
    if os.path.isdir(path):
        raise UsageError(f"--coverage {path}: expected a file, got a directory.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"--coverage {path}: this user cannot write to {folder}.")


def write_files(
    args: argparse.Namespace,
    reader: "Reader",
    render: "Callable[[Line], bytes]",
    before_line: Callable[[], None],
) -> "Coverage":
    """Write the files named in ``args``; with ``-o`` print the lines as well.

    Args:
        args: The parsed arguments.
        reader: The lines.
        render: Renders a line for stdout.
        before_line: Is called before output, to clear the progress.

    Returns:
        The coverage of the lines.
    """
    from cordboard.cli import _logs_output
    from cordboard.logs import report

    if args.collect or args.bundle:
        _confine(reader)
    coverages: list[Coverage] = []

    def coverage() -> "Coverage":
        """Return the coverage, which is computed when all lines have been read."""
        if not coverages:
            coverages.append(reader.coverage())
        return coverages[0]

    replaced = {name for name in args.report if os.path.lexists(name)}
    tee = _logs_output.Tee(render, before_line, is_flushed=sys.stdout.isatty())
    with _logs_output.sigterm_as_exit():
        report.hand_over(
            tee.lines(reader.lines()) if args.output else reader.lines(),
            coverage,
            _header(args, reader.query),
            reports=args.report,
            directory=args.collect,
            zip_path=args.bundle,
        )
    before_line()
    for name in filter(None, (args.collect, *args.report, args.bundle)):
        action = "replaced an older file" if name in replaced else "written"
        _logs_output.print_status(args, f"{name}: {action}")
    tee.end()
    return coverage()


def _confine(reader: "Reader") -> None:
    """Follow no links out of the folders, because a collection is often passed on to others."""
    from cordboard.logs.sources.directory import Directory

    for source in reader.sources:
        if isinstance(source, Directory):
            source.confined = True


def _header(args: argparse.Namespace, query: "Query") -> "Header":
    import shlex

    from cordboard.logs.report import Header
    from cordboard.logs.sources.directory import readable

    filters = {
        "--user": args.user,
        "--room": args.room,
        "--service": ",".join(query.services),
        "--level": args.level,
        "--grep": args.grep,
        "--where": args.where,
        "--limit": args.limit,
    }
    return Header(
        command=readable(shlex.join(["cordboard", *sys.argv[1:]])),
        environment=readable(args.dir or args.env or "local"),
        session_id=query.session,
        since=query.since,
        until=query.until,
        filters=tuple(readable(f"{name} {value}") for name, value in filters.items() if value),
    )


def write_coverage_file(path: str, coverage: "Coverage") -> None:
    """Write ``coverage`` as JSON.

    Args:
        path: The file.
        coverage: The coverage.

    Raises:
        CordboardError: The file cannot be written.
    """
    from cordboard.logs.report import coverage_json

    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(coverage_json(coverage))
    except OSError as error:
        raise CordboardError(f"Cannot write {path}: {error.strerror}.") from error
