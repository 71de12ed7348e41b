"""The files that `cordboard logs` writes: reports, collections, bundles, the coverage."""

import argparse
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from cordboard.contract.errors import CordboardError, UsageError

if TYPE_CHECKING:
    from cordboard.logs.coverage import Coverage
    from cordboard.logs.query import Query
    from cordboard.logs.reader import Reader
    from cordboard.logs.report import Header


_FORMS: Final[dict[str, tuple[tuple[str, ...], str]]] = {
    "--report": (
        (".html", ".txt"),
        "The suffix selects the format: --report call.html or --report call.txt",
    ),
    "--bundle": ((".zip",), "Use --bundle call.zip"),
}


def check_targets(args: argparse.Namespace) -> None:
    """Check before anything is read that the files named in ``args`` can be written.

    Raises:
        UsageError: A file cannot be written.
    """
    for name in ("coverage", "report", "collect", "bundle"):
        if getattr(args, name) in ("-", ["-"]):
            raise UsageError(f"--{name} -: expected a name; stdout is for the lines.")
    args.report = list(dict.fromkeys(args.report))
    targets = [("--coverage", args.coverage), ("--collect", args.collect)]
    targets += [("--report", path) for path in args.report]
    for option, path in [*targets, ("--bundle", args.bundle)]:
        if path:
            check_target(option, path)
    if args.follow and (args.report or args.collect or args.bundle):
        raise UsageError("-f does not end, and files are written at the end.", hint="Leave out -f.")


def check_target(option: str, path: str) -> None:
    """Check that a file or a directory can be written.

    Args:
        option: ``--report`` or ``--coverage``, which replace an older file; ``--bundle``, a new file; or
            ``--collect``, a new directory or an empty one.
        path: The path.

    Raises:
        UsageError: Its suffix is wrong, something is there that is kept, or it cannot be written there.
    """
    suffixes, hint = _FORMS.get(option, ((), ""))
    if suffixes and os.path.splitext(path)[1].lower() not in suffixes:
        ends = " or ".join(suffixes)
        raise UsageError(f"{option} {path}: expected a name that ends in {ends}.", hint=hint)
    folder = os.path.dirname(path) or "."
    if option == "--bundle" and os.path.lexists(path):
        raise UsageError(
            f"--bundle {path}: already exists, and bundles are never overwritten.",
            hint=f"Choose another name, or remove it first: rm {path}",
        )
    if option == "--collect":
        if os.path.lexists(path) and not _is_empty(path):
            raise UsageError(
                f"--collect {path}: already exists, and collections are never overwritten.",
                hint="Choose a directory that does not exist yet.",
            )
        folder = os.path.dirname(os.path.abspath(path))
        while not os.path.exists(folder):
            folder = os.path.dirname(folder)
    elif os.path.isdir(path):
        raise UsageError(f"{option} {path}: expected a file, got a directory.")
    if not os.path.isdir(folder):
        raise UsageError(
            f"{option} {path}: {folder} is not a directory.", hint=f"Create it: mkdir -p {folder}"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{option} {path}: this user cannot write to {folder}.")


def _is_empty(path: str) -> bool:
    try:
        return not os.listdir(path)
    except OSError:  # no directory, or one that this user may not read
        return False


def write_files(
    args: argparse.Namespace,
    reader: "Reader",
    before_line: Callable[[], None],
) -> "Coverage":
    """Write the files named in ``args``; with ``-o`` print the lines as well.

    Args:
        args: The parsed arguments.
        reader: The lines.
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
    render = _logs_output.renderer(args.output, sessions=not args.session)
    tee = _logs_output.Tee(render, before_line, is_flushed=sys.stdout.isatty())
    with _logs_output.sigterm_as_exit():
        report.hand_over(
            tee.lines(reader.lines()) if args.output else reader.lines(),
            coverage,
            header(args, reader.query),
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


def header(args: argparse.Namespace, query: "Query") -> "Header":
    """Return how a report was asked for.

    Raises:
        SettingsError: The table ``[prices]`` is invalid.
    """
    import shlex

    from cordboard.cli._logs_settings import load_log_settings
    from cordboard.logs.report import Header
    from cordboard.logs.report.prices import prices_from
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
        prices=prices_from(load_log_settings(args.config).prices),
    )


def write_coverage_file(path: str, coverage: "Coverage") -> None:
    """Write ``coverage`` as JSON.

    Args:
        path: The file.
        coverage: The coverage.

    Raises:
        CordboardError: The file cannot be written.
    """
    from cordboard.logs.report.bundle import coverage_json

    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(coverage_json(coverage))
    except OSError as error:
        raise CordboardError(f"Cannot write {path}: {error.strerror}.") from error
