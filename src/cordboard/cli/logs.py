"""``cordboard logs``: all lines of a session, or of a window, from everywhere they are kept."""

import argparse
import sys
from typing import Any

SUMMARY = "print all lines of a session, or of a window, in time order"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.epilog = """\
examples:
  cordboard logs --local -t 10m --session ID     all lines of one call
  cordboard logs --local --session ID            the same, however old it is
  cordboard logs --local -t 1h --level warn      warnings and errors of the last hour

DURATION: 600 (seconds), 90s, 10m, 1h30m, 2d
"""
    where = parser.add_argument_group("where").add_mutually_exclusive_group()
    where.add_argument("--local", action="store_true", help="what `cordboard up` wrote here")
    when = parser.add_argument_group("when")
    when.add_argument("-t", "--time", metavar="DURATION", help="the last DURATION")
    what = parser.add_argument_group("what")
    what.add_argument("--session", metavar="ID", help="lines of this session")
    what.add_argument("--user", metavar="ID", help="lines of this user")
    what.add_argument("--room", metavar="R", help="lines of this room")
    what.add_argument("--service", metavar="S", action="append", help="lines of this service")
    what.add_argument("--level", choices=("debug", "info", "warn", "error"), help="and above")
    what.add_argument("--grep", metavar="RE", help="message matches")
    how = parser.add_argument_group("how")
    how.add_argument("-o", "--output", choices=("pretty", "json", "raw"), help="form")
    parser.add_argument("--config", metavar="FILE", help="settings (default ./cordboard.toml)")


def run(args: argparse.Namespace) -> int:
    """Read and print."""
    import re
    from datetime import UTC, datetime, timedelta

    from cordboard.contract.ids import canonical_room, check_session_id
    from cordboard.logs.formats import formats_from
    from cordboard.logs.query import Query
    from cordboard.logs.reader import Reader
    from cordboard.logs.sources.directory import Directory
    from cordboard.logs.times import duration_s, timestamp
    from cordboard.settings import load

    since = None
    if args.time:
        since = timestamp(datetime.now(UTC) - timedelta(seconds=duration_s(args.time)))
    query = Query(
        since=since,
        session=check_session_id(args.session) if args.session else None,
        user=args.user,
        room=canonical_room(args.room) if args.room else None,
        services=tuple(args.service or ()),
        level=args.level,
        grep=re.compile(args.grep) if args.grep else None,
    )
    settings = load(args.config)
    reader = Reader(query, [Directory(settings.log_path)], formats_from(settings.logs))
    output = args.output or ("pretty" if sys.stdout.isatty() else "json")
    for line in reader.lines():
        if output == "raw":
            sys.stdout.buffer.write(line.raw + b"\n")
        elif output == "json":
            sys.stdout.buffer.write(_encoded(line.record) + b"\n")
        else:
            sys.stdout.write(f"{line.record}\n")
    sys.stdout.flush()
    coverage = reader.coverage()
    for answer in coverage.answers:
        sys.stderr.write(f"{answer.name}: {answer.lines} lines\n")
    return 0 if coverage.complete else 3


def _encoded(record: dict[str, Any]) -> bytes:
    import msgspec

    return msgspec.json.encode(record)
