"""``cordboard sessions --local``: what the log files tell of sessions."""

import argparse

from cordboard.cli import _output, logs
from cordboard.cli._logs_query import lines_of, reader_of, window
from cordboard.contract.errors import NotFoundError
from cordboard.contract.ids import check_session_id
from cordboard.logs.coverage import count
from cordboard.logs.evidence import holes
from cordboard.logs.query import Query
from cordboard.logs.reader import Reader
from cordboard.logs.roll import Entry, add_missing, roll
from cordboard.logs.times import seconds


def run(args: argparse.Namespace) -> int:
    """List the sessions of a window, or show one; return the exit status."""
    since, until = window(args.time, args.since, args.until, around=args.around)
    session = None if args.session is None else check_session_id(args.session)
    reader = reader_of(args, Query(since=since, until=until, session=session))
    try:
        found = _read(reader)
        coverage = reader.coverage()
    finally:
        reader.close()
    entries = [entry for entry in found if _is_wanted(entry, args)]
    if session is not None and not entries:
        where = " of this window" if since or until else ""
        raise NotFoundError(
            f"The logs{where} have no session {session}.",
            hint=f"Lines that mention it: {lines_of(args, session)} --mentions",
        )
    _show(entries, args)
    if coverage.complete:
        return logs.EXIT_COMPLETE
    logs.write_coverage(coverage)
    return logs.EXIT_INCOMPLETE


def _read(reader: Reader) -> list[Entry]:
    """Return all sessions, the newest first."""
    query = reader.query
    found = roll(reader.lines())
    missing = holes(reader.tracks, query.first, query.end)
    add_missing(found.values(), missing, whole=query.since is None)
    return sorted(found.values(), key=lambda entry: entry.trail.first, reverse=True)


def _is_wanted(entry: Entry, args: argparse.Namespace) -> bool:
    return (
        (args.state is None or entry.state == args.state)
        and (args.room is None or entry.room == args.room)
        and (args.user is None or args.user in entry.people)
    )


def _show(entries: list[Entry], args: argparse.Namespace) -> None:
    shown = entries[: args.limit]
    if args.output == "json":
        for entry in shown:
            _output.print_line(_output.to_json(entry.as_dict()))
    elif args.session is not None:
        _output.print_line(f"{_one(shown[0])}\n\nIts lines: {lines_of(args, args.session)}")
    else:
        _output.print_line(_table(shown) if shown else "No sessions.")
        if len(entries) > len(shown):
            more = len(entries) - len(shown)
            _output.print_line(f"… {more:,} more; --limit shows {'it' if more == 1 else 'them'}.")


def _table(entries: list[Entry]) -> str:
    rows = [
        (
            "SESSION",
            "STATE",
            "REASON",
            "ROOM",
            "USER",
            "FIRST LINE",
            "LASTED",
            "LINES",
            "ERRORS",
            "MISSING",
        )
    ]
    rows += [
        (
            entry.trail.session,
            entry.state,
            entry.reason,
            _output.truncate_room(entry.room or ""),
            _output.truncate_name(entry.user or ""),
            _output.format_local_time(entry.trail.first.decode()),
            _length(entry.seconds),
            str(entry.lines),
            str(entry.errors or ""),
            _missing(entry),
        )
        for entry in entries
    ]
    return _output.format_table(rows)


def _one(entry: Entry) -> str:
    begin = seconds(entry.trail.first)
    facts = [
        (name, str(value)) for name, value in entry.as_dict().items() if value not in (None, [])
    ]
    events = [
        (
            f"  {step.event}",
            step.service,
            f"{step.at.decode()}  +{(seconds(step.at) - begin) * 1000:.0f} ms",
        )
        for step in entry.trail.steps
    ]
    parts = [_output.format_table(facts)]
    if events:
        parts.append(f"events\n{_output.format_table(events)}")
    return "\n\n".join(parts)


def _missing(entry: Entry) -> str:
    words = [f"up to {count(entry.missing, 'line')}"] if entry.missing else []
    return ", ".join([*words, *(f"{service} silent" for service in entry.silent)])


def _length(length_s: float | None) -> str:
    return "" if length_s is None else f"{int(length_s) // 60}:{int(length_s) % 60:02d}"
