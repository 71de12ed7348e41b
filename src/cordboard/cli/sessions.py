"""``cordboard sessions``: list or show sessions, from a gateway or from log files."""

import argparse
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from cordboard.cli import _options
from cordboard.contract.http_api import session_path
from cordboard.contract.ids import canonical_room
from cordboard.contract.state import TERMINAL, TRANSITIONS

if TYPE_CHECKING:
    from cordboard.cli._gateway_client import GatewayClient

PAGE: Final = 500  # the largest page that a gateway returns

_EPILOG: Final = """\
examples:
  cordboard sessions                        the newest sessions of the gateway
  cordboard sessions call-7                 one session and its stages
  cordboard sessions --state running        live calls
  cordboard sessions --room webrtc:demo -o json
  cordboard sessions --build 3f9a1c         those that ran with this bot file
  cordboard sessions --user Ada --around 15:00 -t 30m
  cordboard sessions --local -t 1h          the last hour's sessions, from the log files
  cordboard sessions --local call-7         one session's events, from the log files
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to ``parser``."""
    parser.epilog = _EPILOG
    _options.refuse_repeats(parser)
    parser.add_argument("session", nargs="?", metavar="ID", help="show this session and its stages")
    parser.add_argument(
        "--state",
        metavar="STATE",
        choices=tuple(TRANSITIONS),
        help="only sessions in this state: %(choices)s",
    )
    parser.add_argument("--room", metavar="ROOM", help="only sessions of this room")
    parser.add_argument("--user", metavar="USER", help="only sessions of this user (id or name)")
    parser.add_argument(
        "--build",
        metavar="BUILD",
        help="only sessions with this build: the hash of the bot file or of its package, the version "
        "of Pipecat or Cordboard, or the image; its first characters are enough",
    )
    parser.add_argument(
        "--limit",
        type=int,
        default=20,
        metavar="N",
        help="maximum number of sessions (default: %(default)s)",
    )
    _options.add_output(parser)
    _add_sources(parser)
    _options.add_window(parser)
    parser.add_argument(
        "--gateway", metavar="URL", help="the gateway (default: that of `cordboard up`)"
    )
    _options.add_config(parser)


def _add_sources(parser: argparse.ArgumentParser) -> None:
    logs = parser.add_argument_group("log files instead of a gateway")
    source = logs.add_mutually_exclusive_group()
    source.add_argument(
        "--local",
        action="store_const",
        dest="env",
        const="local",
        help="log files of `cordboard up`",
    )
    source.add_argument("--env", metavar="NAME", dest="env", help="log files of this environment")
    source.add_argument("--dir", metavar="DIR", help="log files in this directory")


def run(args: argparse.Namespace) -> int:
    """Print the sessions that match ``args``; return the exit status."""
    from cordboard.cli import _gateway_client, _output
    from cordboard.contract.errors import UsageError

    _options.check_positive("--limit", args.limit)
    args.room = canonical_room(args.room) if args.room else None
    if args.env or args.dir:
        if args.build:
            raise UsageError(
                "--build needs a gateway.",
                hint="Search log files with: cordboard logs --where 'event = bot.started'",
            )
        from cordboard.cli import _local_sessions

        return _local_sessions.run(args)
    gateway = _gateway_client.open_gateway(args.gateway, args.config)
    if args.session:
        session = gateway.get(session_path(args.session))
        _output.print_line(_output.to_json(session) if args.output == "json" else _details(session))
        return 0
    sessions, has_more = _newest(gateway, args)
    if args.output == "json":
        for session in sessions:
            _output.print_line(_output.to_json(session))
        return 0
    _output.print_line(_table(sessions) if sessions else "No sessions.")
    if has_more:
        _output.print_line(f"… more than {len(sessions)}; use --limit to show more.")
    return 0


def _newest(
    gateway: "GatewayClient", args: argparse.Namespace
) -> tuple[list[dict[str, Any]], bool]:
    """Return the newest sessions that match ``args``, and whether there are more.

    The gateway filters by user id only. Sessions are filtered here by user name and by time.
    """
    since, until = _window(args)
    query = {"state": args.state, "room_url": args.room, "build": args.build}
    sessions: list[dict[str, Any]] = []
    # Without a window, try the gateway's own filter first: it needs one request.
    if since is None and until is None:
        of_user = all_sessions(gateway, {**query, "userId": args.user}, min(args.limit + 1, PAGE))
        sessions = list(islice(of_user, args.limit + 1))
    # USER may be a name, which the gateway cannot filter by: read all pages.
    if not sessions and (args.user or since or until):
        matches = (
            session
            for session in all_sessions(gateway, query)
            if _matches(session, args.user, since, until)
        )
        sessions = list(islice(matches, args.limit + 1))
    return sessions[: args.limit], len(sessions) > args.limit


def _window(args: argparse.Namespace) -> tuple[str | None, str | None]:
    if not (args.time or args.since or args.until or args.around):
        return None, None
    from cordboard.cli._logs_query import window

    return window(args.time, args.since, args.until, around=args.around)


def all_sessions(
    gateway: "GatewayClient", query: dict[str, Any], size: int = PAGE
) -> Iterator[dict[str, Any]]:
    """Yield all sessions that match a query, the newest first.

    Args:
        gateway: The client of the gateway.
        query: The parameters of ``GET /sessions``.
        size: The number of sessions per request.
    """
    cursor: str | None = None
    while True:
        page = gateway.get("/sessions", {**query, "limit": size, "cursor": cursor})
        yield from page["sessions"]
        cursor = page["nextCursor"]
        if cursor is None:
            return


def _matches(
    session: dict[str, Any], user: str | None, since: str | None, until: str | None
) -> bool:
    """Return whether a session has a user (by id or name) and overlaps a window."""
    from cordboard.cli._output import parse_time

    is_over = session["status"] in TERMINAL
    begin = parse_time(session["createdAt"])
    end = max(map(parse_time, session["stages"].values()), default=begin)
    return (
        (user is None or user in {session.get("userId"), session.get("userName")})
        and (until is None or begin < parse_time(until))
        and (since is None or not is_over or end >= parse_time(since))
    )


def _table(sessions: list[dict[str, Any]]) -> str:
    from cordboard.cli import _output

    rows = [
        ("SESSION", "STATE", "REASON", "ROOM", "USER", "RUNNER", "JOINED", "DURATION", "ATTEMPTS")
    ]
    rows += [
        (
            session["sessionId"],
            session["status"],
            session.get("reason", ""),
            _output.truncate_room(session["room_url"]),
            _output.truncate_name(session.get("userName") or session.get("userId", "")),
            session.get("type", ""),
            _output.format_local_time(session["createdAt"]),
            _duration(session),
            str(session.get("attempt", "")),
        )
        for session in sessions
    ]
    return _output.format_table(rows)


def _details(session: dict[str, Any]) -> str:
    from cordboard.cli import _output

    apart = {"stages", "takeOvers", "build"}
    fields = [(name, str(value)) for name, value in session.items() if name not in apart]
    begin = _output.parse_time(session["createdAt"])
    stages = [
        (f"  {name}", f"{_output.format_local_time(at)}  +{_output.milliseconds(begin, at):.0f} ms")
        for name, at in session["stages"].items()
    ]
    taken = [_take_over(item) for item in session.get("takeOvers", ())]
    if taken and session["status"] in {"queued", "starting"}:
        taken[-1] = taken[-1][0], f"{taken[-1][1]}; not taken yet"
    heads = [("take-overs", "")] if taken else []
    build = [(f"  {name}", value) for name, value in session.get("build", {}).items()]
    fields += [("build", ""), *build] if build else []
    table = _output.format_table([*fields, ("stages", ""), *stages, *heads, *taken])
    return f"{table}\n\nIts lines: cordboard logs --local --session {session['sessionId']}"


def _take_over(item: dict[str, Any]) -> tuple[str, str]:
    """Return the row of a take-over: what died, how that was known, who continued, and after how long."""
    from cordboard.cli import _output
    from cordboard.logs.takeovers import DIED, TakeOver, known_words

    cause = item["cause"]
    known = known_words(cause, item.get("sign", ""))
    taken = TakeOver(item["epoch"], None, DIED.get(cause, cause), known, item.get("runner", ""))
    silence_ms = item.get("silenceMs")
    words = [
        f"{_output.format_local_time(item['at'])}  {taken.died_words}",
        *([known] if known else []),
        f"attempt {item['attempt']}",
        *([f"taken by {item['takenBy']}"] if "takenBy" in item else []),
        *([f"no bot ran for {silence_ms / 1000:.2f} s"] if silence_ms is not None else []),
    ]
    return f"  epoch {item['epoch']}", "; ".join(words)


def _duration(session: dict[str, Any]) -> str:
    """Return the time from ``running`` to ``ended`` as M:SS; an empty text if one is missing.

    ``running`` is the start of the last bot: a session that another process continued counts from its join.
    """
    from cordboard.cli import _output

    stages = session["stages"]
    if "running" not in stages or "ended" not in stages:
        return ""
    start = session["createdAt"] if session.get("takeOvers") else stages["running"]
    begin = _output.parse_time(start)
    return _output.format_duration(_output.milliseconds(begin, stages["ended"]) / 1000)
