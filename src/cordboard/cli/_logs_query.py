"""What the words of `cordboard logs` mean: a query, and the sources that are asked."""

import argparse
import re
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from cordboard.cli._logs_settings import LogSettings, load_log_settings
from cordboard.contract.errors import UsageError
from cordboard.contract.ids import canonical_room, check_session_id
from cordboard.environment import kubeconfig_files
from cordboard.logs import environments
from cordboard.logs.formats import formats_from
from cordboard.logs.query import Query
from cordboard.logs.reader import Reader
from cordboard.logs.sources.directory import Directory, readable
from cordboard.logs.times import duration_s, moment, timestamp

if TYPE_CHECKING:
    from cordboard.logs.where import Condition


def query_of(args: argparse.Namespace) -> Query:
    """Return the query that the words mean.

    Raises:
        CordboardError: A word is off; nothing has been read or written.
    """
    _refuse_empty(args)
    since, until = window(args.time, args.since, args.until, around=args.around, follow=args.follow)
    where = _condition(args.where)
    if args.mentions and args.session is None:
        raise UsageError("--mentions goes with --session.", hint="Name the session: --session ID.")
    if args.fix_skew and args.session is None:
        raise UsageError("--fix-skew goes with --session.", hint="Name the session: --session ID.")
    return Query(
        since=since,
        until=until,
        session=None if args.session is None else check_session_id(args.session),
        user=args.user,
        room=None if args.room is None else canonical_room(args.room),
        services=tuple(s for words in args.service or () for s in words.split(",") if s),
        level=args.level,
        grep=_pattern(args.grep),
        where=where.holds if where else None,
        where_terms=where.terms if where else (),
        follow=args.follow,
        exact=args.exact,
        mentions=args.mentions,
        fix_skew=args.fix_skew,
    )


def _refuse_empty(args: argparse.Namespace) -> None:
    """Refuse a name that is none: a variable of a script that was not set asks for nothing."""
    for name in ("env", "dir", "user", "report", "collect", "bundle", "coverage"):
        if getattr(args, name) in ("", [""]):
            raise UsageError(f"--{name} '': a name is wanted.")
    if any(not words.strip(", ") for words in args.service or ()):
        raise UsageError("--service '': a name is wanted.")


def window(
    length: str | None,
    since: str | None,
    until: str | None,
    *,
    around: str | None = None,
    follow: bool = False,
) -> tuple[str | None, str | None]:
    """Return where a window begins and ends, as timestamps; None where it does not.

    Raises:
        UsageError: The words name no window.
    """
    now = datetime.now(UTC)
    span = None if length is None else timedelta(seconds=duration_s(length))
    if around is not None:
        if since is not None or until is not None:
            raise UsageError("--around goes with -t, not with --since or --until.")
        at, half = moment(around, now), span or timedelta(minutes=1)
        return timestamp(at - half), timestamp(at + half)
    if span is not None and since is not None:
        raise UsageError("-t and --since both say when to begin.", hint="Leave one of them out.")
    if follow and until is not None:
        raise UsageError("-f goes on and --until ends.", hint="Leave one of them out.")
    end = None if until is None else moment(until, now)
    begin = None if since is None else moment(since, now)
    if span is not None:
        begin = (end or now) - span
    if begin is not None and end is not None and begin >= end:
        raise UsageError(f"The window ends ({until}) before it begins ({since}).")
    return (
        None if begin is None else timestamp(begin),
        None if end is None else timestamp(end),
    )


def _condition(text: str | None) -> "Condition | None":
    if text is None:
        return None
    from cordboard.logs.where import parse  # no other query needs it

    return parse(text)


def _pattern(text: str | None) -> re.Pattern[str] | None:

    if text is None:
        return None
    try:
        return re.compile(text)
    except re.error as error:
        at = error.pos or 0
        raise UsageError(
            f"--grep, column {at + 1}: this is no regular expression: {error.msg}.",
            hint=f"{text}\n  {' ' * at}^",
        ) from error


def limit_of(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise UsageError(f"--limit {text}: a number above 0 is wanted.")
    return int(text)


# --- from names to sources


def reader_of(args: argparse.Namespace, query: Query) -> Reader:
    """Return a reader of the sources that the words name.

    Raises:
        CordboardError: There is no such environment, or a setting is off.
    """
    settings = load_log_settings(args.config)
    reader = Reader(query, [], formats_from(settings.formats))
    if args.dir is not None:
        reader.sources = [Directory(args.dir)]
    else:
        _add_environment(reader, args.env or "local", settings)
    if query.session is not None:
        reader.tally.command = partial(lines_of, args, query.session)
    return reader


def lines_of(args: argparse.Namespace, session: str) -> str:
    """Return the command that shows all lines of a session, from the same source."""
    import shlex

    where = ["--dir", args.dir] if args.dir else ["--env", args.env]
    if where[1] in {None, "local"}:
        where = ["--local"]
    config = ["--config", args.config] if args.config else []
    return readable(shlex.join(["cordboard", "logs", *where, *config, "--session", session]))


def _add_environment(reader: Reader, name: str, settings: LogSettings) -> None:
    if name in settings.environments or name != environments.LOCAL:
        from pathlib import Path

        base = settings.config_file.parent if settings.config_file else Path()
        files = kubeconfig_files()
        reader.sources = environments.sources_of(name, settings.environments, base, files)
        return
    reader.sources, notes = environments.local_sources(settings.log_folder, kubeconfig_files())
    reader.tally.notes += notes
