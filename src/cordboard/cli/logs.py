"""``cordboard logs``: print all lines of a session, or of a window, from all sources."""

import argparse
import gc
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn

from cordboard.cli import _options
from cordboard.cli._startup import without_collection

if TYPE_CHECKING:
    from cordboard.cli._logs_output import Format, Progress
    from cordboard.logs.coverage import Coverage
    from cordboard.logs.reader import Reader

_EPILOG: Final = """\
examples:
  cordboard logs --local --session ID              all lines of one call, whatever its age
  cordboard logs --local -t 10m --session ID       the same, within the last ten minutes
  cordboard logs --local -t 1h --level warn        warnings and errors of the last hour
  cordboard logs --prod --since 14:05 --until 14:20 --service gateway
  cordboard logs --local --around "yesterday 14:05" -t 30s
  cordboard logs --local -f --grep "Join (accepted|refused)"
  cordboard logs --local -t 1d --where 'meta.status >= 500 and not tag = http'
  cordboard logs --stg --session ID --report call.html
  cordboard logs --local -t 5m -o json | jq .message
  cordboard logs --local --session ID -o brief     what happened, in 8 KiB of JSON, for a coding agent
  cordboard logs --local -t 1h --level error --context 5
  cordboard logs --local --session ID --against OTHER

A DURATION is 600 (seconds), 90s, 10m, 1h30m or 2d. A TIME is 2026-11-23T10:11:12Z, 2026-11-23 10:11,
14:05 (the most recent one), yesterday 14:05, or a DURATION before now. A TIME without a zone is in
this machine's zone.

A CONDITION is FIELD OP VALUE (OP: = != < <= > >= ~ !~), `FIELD in (A, B)`, or a FIELD alone, combined
with and, or, not and parentheses. The fields are those of a line: level, message, service, meta.NAME,
error.type, ...

An environment is a list of sources in cordboard.toml:
  [[environments.stg]]
  type = "kubernetes"        # or "directory" with a path
  context = "stg"

Exit status: 0 if the answer is complete, 3 if lines are missing (listed on stderr), 2 for invalid
arguments, 1 if the command failed.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to ``parser``."""
    parser.epilog = _EPILOG
    _options.refuse_repeats(parser)
    _explain_ignore_case(parser)
    add_sources(parser)
    _options.add_window(parser)
    _add_filters(parser)
    _add_output(parser)
    _add_comparison(parser)
    _add_files(parser)


def _explain_ignore_case(parser: argparse.ArgumentParser) -> None:
    """Add a hint to the error for ``-i``, which grep has."""
    print_error = parser.error

    def error(message: str) -> NoReturn:
        if "--grep: expected" in message or re.search(r"unrecognized .*(^|\s)-i\b", message):
            message += "; to ignore case write --grep '(?i)PATTERN'"
        print_error(message)

    parser.error = error  # type: ignore[method-assign]  # a subclass would be longer


def add_sources(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the sources of lines to ``parser``."""
    # --local, --stg, --prod and --env set the same destination: an environment's name.
    group = parser.add_argument_group("sources (default: --local)")
    source = group.add_mutually_exclusive_group()
    source.add_argument(
        "--local",
        action="store_const",
        dest="env",
        const="local",
        help="log files of `cordboard up`, and the current Kubernetes context if there is one",
    )
    for name in ("stg", "prod"):
        source.add_argument(
            f"--{name}", action="store_const", dest="env", const=name, help=f"environment {name}"
        )
    source.add_argument(
        "--env", metavar="NAME", dest="env", help="an environment of cordboard.toml"
    )
    source.add_argument("--dir", metavar="DIR", help="a directory of log files, or one file")


def _add_filters(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("filters")
    group.add_argument("--session", metavar="ID", help="lines of this session")
    group.add_argument("--user", metavar="USER", help="lines of this user (id or name)")
    group.add_argument("--room", metavar="ROOM", help="lines of this room: a URL, or webrtc:NAME")
    group.add_argument(
        "--service",
        metavar="SERVICE",
        action="append",
        help="lines of this service; may be repeated",
    )
    group.add_argument(
        "--level", choices=("debug", "info", "warn", "error"), help="lines of this level and above"
    )
    group.add_argument(
        "--grep", metavar="PATTERN", help="lines whose message matches this regular expression"
    )
    group.add_argument(
        "--where", metavar="CONDITION", help="lines whose fields meet this condition (see below)"
    )
    group.add_argument(
        "--mentions",
        action="store_true",
        help="with --session: also lines of other sessions that contain its id as text",
    )


def _add_comparison(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("context and comparison")
    group.add_argument(
        "-C",
        "--context",
        metavar="N",
        help="also N lines of the same process before and after each line",
    )
    group.add_argument(
        "--against",
        metavar="ID",
        help="with --session: print where the session first differs from this one",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument(
        "-f", "--follow", action="store_true", help="continue with new lines as they are written"
    )
    group.add_argument("--limit", metavar="N", help="stop after N lines")
    group.add_argument(
        "-o",
        "--output",
        choices=("pretty", "json", "raw", "brief"),
        help="format: pretty (default on a terminal), json (one record per line; default "
        "elsewhere), raw (as in the source), brief (what is known of the session, for tools)",
    )
    group.add_argument(
        "--max-bytes",
        metavar="N",
        help="with -o brief: leave out facts above this size (default 8192, at least 4096)",
    )
    group.add_argument(
        "--explain", action="store_true", help="print the command of each source; read nothing"
    )
    group.add_argument(
        "--exact", action="store_true", help="read whole files, even if their lines are in order"
    )
    group.add_argument(
        "--fix-skew",
        action="store_true",
        help="with --session: correct the times of processes whose clocks are demonstrably wrong",
    )
    group.add_argument("-q", "--quiet", action="store_true", help="print no coverage on stderr")
    group.add_argument("--no-pager", action="store_true", help="use no pager on a terminal")
    _options.add_config(parser)


def _add_files(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("files")
    group.add_argument(
        "--report",
        metavar="FILE",
        action="append",
        default=[],
        help="write a report: FILE.html or FILE.txt; may be repeated",
    )
    group.add_argument(
        "--collect", metavar="DIR", help="write one file per source into a new directory"
    )
    group.add_argument(
        "--bundle", metavar="FILE", help="write the lines and a report into FILE.zip"
    )
    group.add_argument("--coverage", metavar="FILE", help="write the coverage as JSON")


def run(args: argparse.Namespace) -> int:
    """Check all of ``args``, then read and print; return the exit status."""
    if args.follow:  # it may run for days
        gc.enable()
    with nullcontext() if args.follow else without_collection():
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    from cordboard.cli import _logs_files, _logs_output, _logs_query

    query = _logs_query.build_query(args)
    form = _logs_query.special_form(args)
    limit = _logs_query.parse_limit(args.limit)
    _logs_files.check_targets(args)
    progress = _logs_output.Progress(shown=sys.stderr.isatty() and not args.quiet)
    reader = _logs_query.open_reader(
        args,
        query,
        progress=progress,
        warn=partial(_logs_output.print_status, args),
        limit=limit,
        is_located=not args.explain,
    )
    try:
        if args.explain:
            _explain(reader)
            return _logs_output.EXIT_COMPLETE
        coverage = _read(args, reader, progress) if form is None else _special(form, args, reader)
        progress.clear()
    finally:
        reader.close()
    if args.coverage:
        _logs_files.write_coverage_file(args.coverage, coverage)
    if not args.quiet:
        _logs_output.print_coverage(coverage)
    return _logs_output.exit_status(coverage)


def _read(args: argparse.Namespace, reader: "Reader", progress: "Progress") -> "Coverage":
    """Read the lines once; write them to stdout, to files, or to both."""
    from cordboard.cli import _logs_files

    if args.collect or args.report or args.bundle:
        coverage = _logs_files.write_files(args, reader, progress.clear)
    else:
        _print_lines(args, reader, progress.clear)
        coverage = reader.coverage()
    progress.clear()
    return coverage


def _special(form: str, args: argparse.Namespace, reader: "Reader") -> "Coverage":
    """Print one of the forms that need all lines first."""
    from cordboard.cli import _logs_special

    return _logs_special.PRINTERS[form](args, reader)


def _explain(reader: "Reader") -> None:
    for source in reader.sources:
        sys.stdout.write(f"# {source.name}\n")
        sys.stdout.writelines(f"{command}\n" for command in source.explain(reader.query))


def _print_lines(
    args: argparse.Namespace, reader: "Reader", before_line: Callable[[], None]
) -> None:
    from cordboard.cli import _logs_output

    form = _logs_output.format_of(args)
    is_paged = sys.stdout.isatty() and not (args.follow or args.no_pager)
    with _logs_output.output(is_paged=is_paged) as out:
        try:
            for chunk in _chunks(args, reader, form):
                before_line()
                out.write(chunk)
                if args.follow:
                    out.flush()
        except BrokenPipeError:
            if not is_paged:  # the user may leave the pager before the end
                raise


def _chunks(args: argparse.Namespace, reader: "Reader", form: "Format") -> Iterator[bytes]:
    """Return the lines as bytes; many at once if they need no decoding."""
    from cordboard.cli import _logs_output

    if form == "pretty":
        return map(_logs_output.renderer(form, sessions=not args.session), reader.lines())
    chunks = reader.encoded(form)
    if not sys.stdout.isatty():
        return chunks
    return (_logs_output.escaped(chunk, form) for chunk in chunks)
