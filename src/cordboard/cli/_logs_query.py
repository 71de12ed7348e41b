"""From the arguments of `cordboard logs` to a query and a reader of its sources."""

import argparse
import re
from collections.abc import Callable
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
from cordboard.logs.sources import Source
from cordboard.logs.sources.directory import Directory, readable
from cordboard.logs.timespec import duration_s, moment, moved, timestamp

if TYPE_CHECKING:
    from cordboard.logs.conditions import Condition


def build_query(args: argparse.Namespace) -> Query:
    """Return the query that ``args`` describes.

    Raises:
        CordboardError: An argument is invalid; nothing has been read or written.
    """
    _check_names(args)
    since, until = window(args.time, args.since, args.until, around=args.around, follow=args.follow)
    where = _condition(args.where)
    if args.mentions and args.session is None:
        raise UsageError("--mentions needs --session ID.")
    if args.fix_skew and args.session is None:
        raise UsageError("--fix-skew needs --session ID.")
    return Query(
        since=since,
        until=until,
        session=None if args.session is None else check_session_id(args.session),
        user=args.user,
        room=None if args.room is None else canonical_room(args.room),
        services=tuple(s for names in args.service or () for s in names.split(",") if s),
        level=args.level,
        grep=_pattern(args.grep),
        where=where.holds if where else None,
        where_terms=where.terms if where else (),
        follow=args.follow,
        exact=args.exact,
        mentions=args.mentions,
        fix_skew=args.fix_skew,
    )


def special_form(args: argparse.Namespace) -> str | None:
    """Return which form of output was asked for that is not one line after the other.

    Returns:
        ``brief``, ``against`` or ``context``; None for lines as they are.

    Raises:
        UsageError: It cannot be combined with other arguments.
    """
    wanted = {
        "-o brief": args.output == "brief",
        "--against": args.against is not None,
        "--context": args.context is not None,
    }
    chosen = [name for name, is_wanted in wanted.items() if is_wanted]
    if args.max_bytes is not None and "-o brief" not in chosen:
        raise UsageError("--max-bytes needs -o brief.")
    if not chosen:
        return None
    others = {
        "-f": args.follow,
        "--report": args.report,
        "--collect": args.collect,
        "--bundle": args.bundle,
    }
    refused = [*chosen[1:], *(name for name, is_given in others.items() if is_given)]
    if refused:
        raise UsageError(f"{chosen[0]} cannot be combined with {refused[0]}.")
    return {"-o brief": "brief", "--against": "against", "--context": "context"}[chosen[0]]


def _check_names(args: argparse.Namespace) -> None:
    """Refuse empty names: they come from unset variables of scripts, and would match nothing."""
    for name in ("env", "dir", "user", "report", "collect", "bundle", "coverage"):
        if getattr(args, name) in ("", [""]):
            raise UsageError(f"--{name} '': expected a name.")
    if any(not names.strip(", ") for names in args.service or ()):
        raise UsageError("--service '': expected a name.")


def window(
    length: str | None,
    since: str | None,
    until: str | None,
    *,
    around: str | None = None,
    follow: bool = False,
) -> tuple[str | None, str | None]:
    """Return the begin and the end of a window as timestamps; None for an open one.

    Args:
        length: The duration of ``-t``.
        since: The begin, in any form of a time that the command line accepts.
        until: The end.
        around: The middle. Without a length, the window extends one minute to both sides.
        follow: Whether the query continues with new lines.

    Raises:
        UsageError: A value is invalid, or they contradict each other.
    """
    now = datetime.now(UTC)
    span = None if length is None else timedelta(seconds=duration_s(length))
    if around is not None:
        if since is not None or until is not None:
            raise UsageError("--around cannot be combined with --since or --until.")
        at, half = moment(around, now), span or timedelta(minutes=1)
        return timestamp(moved(at, -half)), timestamp(moved(at, half))
    if span is not None and since is not None:
        raise UsageError(
            "-t and --since both set the start of the window.", hint="Leave one of them out."
        )
    if follow and until is not None:
        raise UsageError("-f cannot be combined with --until.", hint="Leave one of them out.")
    end = None if until is None else moment(until, now)
    begin = None if since is None else moment(since, now)
    if span is not None:
        begin = moved(end or now, -span)
    if begin is not None and end is not None and begin >= end:
        raise UsageError(f"The window ends ({until}) before it begins ({since}).")
    return (
        None if begin is None else timestamp(begin),
        None if end is None else timestamp(end),
    )


def _condition(text: str | None) -> "Condition | None":
    if text is None:
        return None
    from cordboard.logs.conditions import parse

    return parse(text)


def _pattern(text: str | None) -> re.Pattern[str] | None:
    if text is None:
        return None
    try:
        return re.compile(text)
    except re.error as error:
        at = error.pos or 0
        raise UsageError(
            f"--grep: invalid regular expression at column {at + 1}: {error.msg}.",
            hint=f"{text}\n  {' ' * at}^",
        ) from error
    except (OverflowError, RecursionError) as error:
        raise UsageError(f"--grep: the regular expression is too large ({error}).") from error


def parse_limit(text: str | None) -> int | None:
    """Return the value of ``--limit``; None if it was not given.

    Raises:
        UsageError: ``text`` is not a number above 0 in ASCII digits.
    """
    if text is None:
        return None
    if re.fullmatch("0*[1-9][0-9]{0,17}", text) is None:
        raise UsageError(f"--limit {text}: expected a number above 0.")
    return int(text)


# --- sources


def open_reader(
    args: argparse.Namespace,
    query: Query,
    *,
    progress: Callable[[int], None] = lambda _: None,
    warn: Callable[[str], None] = lambda _: None,
    limit: int | None = None,
    is_located: bool = False,
) -> Reader:
    """Return a reader of the sources that ``args`` names.

    Args:
        args: The parsed arguments.
        query: The query.
        progress: Is told of bytes that were read.
        warn: Is told what will perhaps never come, before anything is followed.
        limit: The maximum number of lines; None for all.
        is_located: Learn from a gateway of the environment when the session ran, if the query has no time.

    Raises:
        CordboardError: The environment is unknown, or a setting is invalid.
    """
    settings = load_log_settings(args.config)
    sources, notes = _open_sources(args, settings)
    if is_located and query.may_be_located and len(sources) > 1:
        query, told = environments.located(query, sources)
        notes += told
    return Reader(
        query,
        sources,
        formats_from(settings.formats),
        progress=progress,
        warn=warn,
        limit=limit,
        notes=notes,
        command=partial(lines_command, args, query.session or "ID"),
    )


def _open_sources(
    args: argparse.Namespace, settings: LogSettings
) -> tuple[list[Source], list[str]]:
    """Return the sources that ``args`` names, and notes for the reader."""
    if args.dir is not None:
        return [Directory(args.dir)], []
    name = args.env or environments.LOCAL
    files = kubeconfig_files()
    if name not in settings.environments and name == environments.LOCAL:
        return environments.local_sources(settings.log_folder, files)
    from pathlib import Path

    base = settings.config_file.parent if settings.config_file else Path()
    return environments.sources_of(name, settings.environments, base, files), []


def lines_command(args: argparse.Namespace, session: str) -> str:
    """Return the command that prints all lines of a session from the same sources.

    Args:
        args: The parsed arguments, which name the sources.
        session: The session id.
    """
    import shlex

    sources = ["--dir", args.dir] if args.dir else ["--env", args.env]
    if sources[1] in {None, "local"}:
        sources = ["--local"]
    config = ["--config", args.config] if args.config else []
    return readable(shlex.join(["cordboard", "logs", *sources, *config, "--session", session]))
