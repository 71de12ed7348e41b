"""``cordboard sessions``: what the gateway knows of sessions, or what the log files tell."""

import argparse
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from cordboard.cli._options import reject_repeats
from cordboard.contract.errors import UsageError
from cordboard.contract.http_api import session_path
from cordboard.contract.ids import canonical_room
from cordboard.contract.state import TERMINAL, TRANSITIONS

if TYPE_CHECKING:
    from cordboard.cli import _gateway_client

PAGE: Final = 500  # the gateway's largest page


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    reject_repeats(parser)
    parser.epilog = """\
examples:
  cordboard sessions                        the newest sessions, as the gateway knows them
  cordboard sessions call-7                 one session with its stages
  cordboard sessions --state running        live calls
  cordboard sessions --room webrtc:demo -o json
  cordboard sessions --user Ada --around 15:00 -t 30m
  cordboard sessions --local -t 1h          the last hour's sessions, from the log files
  cordboard sessions --local call-7         one session's events, from the log files
"""
    parser.add_argument(
        "session", nargs="?", metavar="ID", help="show this session with its stages"
    )
    parser.add_argument(
        "--state",
        metavar="STATE",
        choices=tuple(TRANSITIONS),
        help="only sessions in this state: %(choices)s",
    )
    parser.add_argument("--room", metavar="R", help="only sessions of this room")
    parser.add_argument("--user", metavar="ID", help="only sessions of this user (id or name)")
    parser.add_argument(
        "--limit", type=int, default=20, metavar="N", help="how many (default %(default)s)"
    )
    parser.add_argument(
        "-o",
        "--output",
        choices=("pretty", "json"),
        default="pretty",
        help="form (default %(default)s)",
    )
    logs = parser.add_argument_group("from log files, instead of a gateway")
    where = logs.add_mutually_exclusive_group()
    where.add_argument(
        "--local", action="store_const", dest="env", const="local", help="of `cordboard up`"
    )
    where.add_argument("--env", metavar="NAME", dest="env", help="of an environment")
    where.add_argument("--dir", metavar="DIR", help="of a directory")
    when = parser.add_argument_group("when (default: everything there is)")
    when.add_argument("-t", "--time", metavar="DURATION", help="in the last DURATION")
    when.add_argument("--since", metavar="T", help="from this time on")
    when.add_argument("--until", metavar="T", help="up to this time")
    when.add_argument(
        "--around", metavar="T", help="one minute before and after this time, or -t DURATION"
    )
    parser.add_argument("--gateway", metavar="URL", help="the gateway (default: of `cordboard up`)")
    parser.add_argument("--config", metavar="FILE", help="settings (default ./cordboard.toml)")


def run(args: argparse.Namespace) -> int:
    """Ask the gateway, or the logs, and print."""
    from cordboard.cli import _gateway_client, _output

    if args.limit < 1:
        raise UsageError(f"--limit {args.limit}: a number above 0 is wanted.")
    args.room = canonical_room(args.room) if args.room else None
    if args.env or args.dir:
        from cordboard.cli import _local_sessions

        return _local_sessions.run(args)
    asked = _gateway_client.open_gateway(args.gateway, args.config)
    if args.session:
        found = asked.get(session_path(args.session))
        _output.print_line(_output.to_json(found) if args.output == "json" else _one(found))
        return 0
    sessions, more = _listed(asked, args)
    if args.output == "json":
        _output.print_line("\n".join(_output.to_json(item) for item in sessions))
        return 0
    _output.print_line(_table(sessions) if sessions else "No sessions.")
    if more:
        _output.print_line(f"… more than {len(sessions)}; --limit shows further ones.")
    return 0


def _listed(
    asked: "_gateway_client.GatewayClient", args: argparse.Namespace
) -> tuple[list[dict[str, Any]], bool]:
    """Return the newest sessions that match, and whether there are more.

    The gateway filters by user id only. By user name and by time its sessions are filtered here.
    """
    since, until = _window(args)
    query = {"state": args.state, "room_url": args.room}
    found: list[dict[str, Any]] = []
    if since is None and until is None:
        all_of_user = _all(asked, {**query, "userId": args.user}, min(args.limit + 1, PAGE))
        found = list(islice(all_of_user, args.limit + 1))
    if not found and (args.user or since or until):
        wanted = (item for item in _all(asked, query) if _is_wanted(item, args.user, since, until))
        found = list(islice(wanted, args.limit + 1))
    return found[: args.limit], len(found) > args.limit


def _window(args: argparse.Namespace) -> tuple[str | None, str | None]:
    if not (args.time or args.since or args.until or args.around):
        return None, None
    from cordboard.cli._logs_query import window

    return window(args.time, args.since, args.until, around=args.around)


def _all(
    asked: "_gateway_client.GatewayClient", query: dict[str, Any], size: int = PAGE
) -> Iterator[dict[str, Any]]:
    """Yield all sessions, the newest first."""
    cursor: str | None = None
    while True:
        page = asked.get("/sessions", {**query, "limit": size, "cursor": cursor})
        yield from page["sessions"]
        cursor = page["nextCursor"]
        if cursor is None:
            return


def _is_wanted(
    item: dict[str, Any], user: str | None, since: str | None, until: str | None
) -> bool:
    """Return whether a session has a user (by id or name) and existed at some time of a window."""
    from cordboard.cli import _output

    over = item["status"] in TERMINAL
    begin = _output.parse_time(item["createdAt"])
    end = max(map(_output.parse_time, item["stages"].values()), default=begin)
    return (
        (user is None or user in {item.get("userId"), item.get("userName")})
        and (until is None or begin < _output.parse_time(until))
        and (since is None or not over or end >= _output.parse_time(since))
    )


def _table(sessions: list[dict[str, Any]]) -> str:
    from cordboard.cli import _output

    rows = [("SESSION", "STATE", "REASON", "ROOM", "USER", "RUNNER", "JOINED", "LASTED")]
    rows += [
        (
            item["sessionId"],
            item["status"],
            item.get("reason", ""),
            _output.truncate_room(item["room_url"]),
            _output.truncate_name(item.get("userName") or item.get("userId", "")),
            item.get("type", ""),
            _output.format_local_time(item["createdAt"]),
            _lasted(item["stages"]),
        )
        for item in sessions
    ]
    return _output.format_table(rows)


def _one(item: dict[str, Any]) -> str:
    from cordboard.cli import _output

    plain = [(name, str(value)) for name, value in item.items() if name != "stages"]
    begin = _output.parse_time(item["createdAt"])
    stages = [
        (
            f"  {name}",
            f"{_output.format_local_time(at)}  +{(_output.parse_time(at) - begin).total_seconds() * 1000:.0f} ms",
        )
        for name, at in item["stages"].items()
    ]
    lines = _output.format_table([*plain, ("stages", ""), *stages])
    return f"{lines}\n\nIts lines: cordboard logs --local --session {item['sessionId']}"


def _lasted(stages: dict[str, str]) -> str:
    from cordboard.cli import _output

    if "running" not in stages or "ended" not in stages:
        return ""
    seconds = (
        _output.parse_time(stages["ended"]) - _output.parse_time(stages["running"])
    ).total_seconds()
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
