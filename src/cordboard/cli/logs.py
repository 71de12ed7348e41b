"""``cordboard logs``: all lines of a session, or of a window, from everywhere they are kept."""

import argparse
import gc
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import IO, TYPE_CHECKING, Final, Literal, NoReturn

from cordboard.cli._options import reject_repeats
from cordboard.contract.errors import CordboardError, UsageError

if TYPE_CHECKING:
    from cordboard.cli._logs_output import Progress
    from cordboard.logs.coverage import Coverage
    from cordboard.logs.line import Line
    from cordboard.logs.query import Query
    from cordboard.logs.reader import Form, Reader
    from cordboard.logs.report import Header

EXIT_COMPLETE: Final = 0
EXIT_INCOMPLETE: Final = 3

_EPILOG: Final = """\
examples:
  cordboard logs --local --session ID              all lines of one call, however old it is
  cordboard logs --local -t 10m --session ID       the same, looking at the last ten minutes
  cordboard logs --local -t 1h --level warn        warnings and errors of the last hour
  cordboard logs --prod --since 14:05 --until 14:20 --service gateway
  cordboard logs --local --around "yesterday 14:05" -t 30s
  cordboard logs --local -f --grep "Join (accepted|refused)"
  cordboard logs --local -t 1d --where 'meta.status >= 500 and not tag = http'
  cordboard logs --stg --session ID --report call.html
  cordboard logs --local -t 5m -o json | jq .message

DURATION is 600 (seconds), 90s, 10m, 1h30m or 2d. A time (T) is 2026-11-23T10:11:12Z, 2026-11-23
10:11, 14:05 (the latest that has passed), yesterday 14:05, or a DURATION before now; without a zone
it is this machine's.

--where takes FIELD OP VALUE (= != < <= > >= ~ !~), `FIELD in (A, B)`, a FIELD alone, and, or, not
and parentheses; fields are those of a line: level, message, service, meta.NAME, error.type, ...

environments are lists of sources in cordboard.toml:
  [[environments.stg]]
  type = "kubernetes"        # or "directory" with a path
  context = "stg"

exit status: 0 the answer is complete, 3 something is missing and named, 2 the command is wrong,
1 it failed
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.epilog = _EPILOG
    reject_repeats(parser)
    _explain_case(parser)
    where = parser.add_argument_group("where (default: --local)").add_mutually_exclusive_group()
    where.add_argument(
        "--local",
        action="store_const",
        dest="env",
        const="local",
        help="what `cordboard up` wrote here, and the current Kubernetes context if there is one",
    )
    for name in ("stg", "prod"):
        where.add_argument(
            f"--{name}", action="store_const", dest="env", const=name, help=f"environment {name}"
        )
    where.add_argument("--env", metavar="NAME", dest="env", help="an environment of cordboard.toml")
    where.add_argument("--dir", metavar="DIR", help="a directory of log files, or one file")
    _add_when(parser.add_argument_group("when (default: everything there is)"))
    _add_what(parser.add_argument_group("what"))
    _add_how(parser.add_argument_group("how"))


def _explain_case(parser: argparse.ArgumentParser) -> None:
    """Add a hint to the error for `-i`, which grep has."""
    plain = parser.error

    def error(message: str) -> NoReturn:
        if "--grep: expected" in message or re.search(r"unrecognized .*(^|\s)-i\b", message):
            message += "; to ignore case write --grep '(?i)PATTERN'"
        plain(message)

    parser.error = error  # type: ignore[method-assign]  # a subclass for one hint is more


def _add_when(when: "argparse._ArgumentGroup") -> None:
    when.add_argument("-t", "--time", metavar="DURATION", help="the last DURATION")
    when.add_argument("--since", metavar="T", help="from this time on")
    when.add_argument("--until", metavar="T", help="up to this time")
    when.add_argument(
        "--around", metavar="T", help="one minute before and after this time, or -t DURATION"
    )


def _add_what(what: "argparse._ArgumentGroup") -> None:
    what.add_argument("--session", metavar="ID", help="what belongs to this session")
    what.add_argument("--user", metavar="ID", help="lines of this user (id or name)")
    what.add_argument("--room", metavar="R", help="lines of this room: a URL, or webrtc:NAME")
    what.add_argument(
        "--service", metavar="S", action="append", help="lines of this service; may be repeated"
    )
    what.add_argument(
        "--level", choices=("debug", "info", "warn", "error"), help="this level and above"
    )
    what.add_argument("--grep", metavar="RE", help="the message matches this regular expression")
    what.add_argument("--where", metavar="COND", help="the fields fulfil this condition (below)")
    what.add_argument(
        "--mentions",
        action="store_true",
        help="with --session: also lines in which its id occurs as mere text",
    )


def _add_how(how: "argparse._ArgumentGroup") -> None:
    how.add_argument("-f", "--follow", action="store_true", help="go on with what is written")
    how.add_argument("--limit", metavar="N", help="stop after N lines")
    how.add_argument(
        "-o",
        "--output",
        choices=("pretty", "json", "raw"),
        help="form: pretty (on a terminal), json (one record a line), raw (as it was found)",
    )
    how.add_argument(
        "--report",
        metavar="FILE",
        action="append",
        default=[],
        help="write a report: FILE.html or FILE.txt; may be repeated",
    )
    how.add_argument("--collect", metavar="DIR", help="write a file for each source into a new DIR")
    how.add_argument("--bundle", metavar="FILE", help="write lines and report into FILE.zip")
    how.add_argument("--coverage", metavar="FILE", help="write the coverage as JSON")
    how.add_argument(
        "--explain", action="store_true", help="print each source's own command; read nothing"
    )
    how.add_argument(
        "--exact", action="store_true", help="read everything, whatever its order in time"
    )
    how.add_argument(
        "--fix-skew",
        action="store_true",
        help="with --session: correct the times of processes whose clocks are provably off",
    )
    how.add_argument("-q", "--quiet", action="store_true", help="no coverage on stderr")
    how.add_argument("--no-pager", action="store_true", help="no pager on a terminal")
    how.add_argument("--config", metavar="FILE", help="settings (default ./cordboard.toml)")


def run(args: argparse.Namespace) -> int:
    """Check everything, then read and print; return the exit status."""
    with _no_collection(unless=args.follow):
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    from cordboard.cli import _logs_query

    query = _logs_query.query_of(args)
    limit = _logs_query.limit_of(args.limit)
    _check_targets(args)
    if args.explain:
        return _explain(_logs_query.reader_of(args, query))
    coverage = _written(args, query, limit)
    _tell(args, coverage)
    return EXIT_COMPLETE if coverage.complete else EXIT_INCOMPLETE


@contextmanager
def _no_collection(*, unless: bool) -> Iterator[None]:
    """Keep the collector of cycles away, but from a query that never ends.

    Of millions of tuples, which hold no cycle, it costs a fifth.
    """
    if unless:
        gc.enable()
    else:
        gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _written(args: argparse.Namespace, query: "Query", limit: int | None) -> "Coverage":
    """Read once, and write everything that was asked for: files, lines on stdout, or both."""
    from cordboard.cli._logs_query import reader_of

    reader = reader_of(args, query)
    reader.limit = limit
    if args.collect or args.bundle:
        _confine(reader)
    reader.progress = progress = _progress(args)
    reader.warn = partial(_say, args)
    try:
        if args.collect or args.report or args.bundle:
            coverage = _hand_over(args, reader, progress.clear)
        else:
            _print(args, reader, progress.clear)
            coverage = reader.coverage()
        progress.clear()
        return coverage
    finally:
        reader.close()


def _confine(reader: "Reader") -> None:
    """Read nothing outside of the folders, because a collection is often given to somebody else."""
    from cordboard.logs.sources.directory import Directory

    for source in reader.sources:
        if isinstance(source, Directory):
            source.confined = True


# --- lines on stdout


def _print(args: argparse.Namespace, reader: "Reader", begin: Callable[[], None]) -> None:
    from cordboard.cli import _logs_output

    at_terminal = sys.stdout.isatty()
    form: Form | Literal["pretty"] = args.output or ("pretty" if at_terminal else "json")
    paged = at_terminal and not (args.follow or args.no_pager)
    with _logs_output.output(paged=paged) as out:
        try:
            for piece in _pieces(args, reader, form):
                begin()
                out.write(_logs_output.shown(piece, form) if at_terminal else piece)
                if args.follow:
                    out.flush()
        except BrokenPipeError:
            if not paged:
                raise


def _pieces(
    args: argparse.Namespace, reader: "Reader", form: "Form | Literal['pretty']"
) -> Iterator[bytes]:
    if form != "pretty":
        yield from reader.encoded(form)
    else:
        yield from map(_pretty(args), reader.lines())


def _render(args: argparse.Namespace) -> Callable[["Line"], bytes]:
    """Return what makes the bytes of a single line in the form that was asked for."""
    from cordboard.logs.json_form import json_line, raw_line

    if args.output == "pretty":
        return _pretty(args)
    plain = raw_line if args.output == "raw" else json_line
    if not sys.stdout.isatty():
        return plain
    from cordboard.cli._logs_output import shown

    return lambda line: shown(plain(line), args.output)


def _pretty(args: argparse.Namespace) -> Callable[["Line"], bytes]:
    from cordboard.logs.pretty import Pretty

    pretty = Pretty(color=_colored(sys.stdout), sessions=not args.session)
    return lambda line: pretty(line).encode("utf-8", "replace")


# --- files


def _check_coverage_path(path: str) -> None:
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise UsageError(f"--coverage {path}: there is no such directory.")
    if os.path.isdir(path):
        raise UsageError(f"--coverage {path}: it is a folder; a file is wanted.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"--coverage {path}: this user may not write in {folder}.")


def _check_targets(args: argparse.Namespace) -> None:
    """Refuse what could not be written, before anything is read.

    Raises:
        UsageError: A file cannot be written there.
    """
    for name in ("coverage", "report", "collect", "bundle"):
        if getattr(args, name) in ("-", ["-"]):
            raise UsageError(f"--{name} -: stdout has the lines; a name is wanted.")
    args.report = list(dict.fromkeys(args.report))
    if args.coverage:
        _check_coverage_path(args.coverage)
    if not (args.report or args.collect or args.bundle):
        return
    if args.follow:
        raise UsageError("-f never ends, and a file is written at the end.", hint="Leave out -f.")
    from pathlib import Path

    from cordboard.logs import report

    if args.collect:
        report.check_collect_path(Path(args.collect))
    for path in args.report:
        report.check_report_path(Path(path))
    if args.bundle:
        report.check_bundle_path(Path(args.bundle))


def _hand_over(args: argparse.Namespace, reader: "Reader", begin: Callable[[], None]) -> "Coverage":
    """Write files; with ``-o`` the lines pass stdout on their way there."""
    from cordboard.cli import _logs_output
    from cordboard.logs import report

    known: list[Coverage] = []

    def coverage() -> "Coverage":
        known[:] = known or [reader.coverage()]
        return known[0]

    replaced = {name for name in args.report if os.path.lexists(name)}
    tee = _logs_output.Tee(_render(args), begin, flushed=sys.stdout.isatty())
    with _logs_output.left_clean():
        report.hand_over(
            tee.lines(reader.lines()) if args.output else reader.lines(),
            coverage,
            _header(args, reader.query),
            reports=args.report,
            directory=args.collect,
            zip_path=args.bundle,
        )
    begin()
    for name in filter(None, (args.collect, *args.report, args.bundle)):
        how = "written in place of an older file" if name in replaced else "written"
        _say(args, f"{name}: {how}")
    tee.end()
    return coverage()


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


# --- what stands beside the lines


def _progress(args: argparse.Namespace) -> "Progress":
    from cordboard.cli._logs_output import Progress

    return Progress(shown=sys.stderr.isatty() and not args.quiet)


def _tell(args: argparse.Namespace, coverage: "Coverage") -> None:
    if args.coverage:
        from cordboard.logs.report.handover import coverage_json

        _write(args.coverage, coverage_json(coverage))
    if not args.quiet:
        write_coverage(coverage)


def write_coverage(coverage: "Coverage") -> None:
    """Write a coverage on stderr, behind what is on stdout."""
    from cordboard.cli import _logs_output

    color = _colored(sys.stderr)
    sys.stdout.flush()
    sys.stderr.write(
        _logs_output.coverage_table(
            coverage, lambda code, text: f"\x1b[{code}m{text}\x1b[0m" if color else text
        )
    )


def _say(args: argparse.Namespace, words: str) -> None:
    if not args.quiet:
        sys.stderr.write(f"{words}\n")


def _explain(reader: "Reader") -> int:
    try:
        for source in reader.sources:
            sys.stdout.write(f"# {source.name}\n")
            sys.stdout.writelines(f"{command}\n" for command in source.explain(reader.query))
    finally:
        reader.close()
    return EXIT_COMPLETE


def _colored(stream: "IO[str]") -> bool:
    from cordboard.environment import is_color_disabled

    return stream.isatty() and not is_color_disabled()


def _write(path: str, text: bytes) -> None:
    try:
        with open(path, "wb") as file:
            file.write(text)
    except OSError as error:
        raise CordboardError(f"Cannot write {path}: {error.strerror}.") from error
