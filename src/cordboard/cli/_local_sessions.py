"""``cordboard sessions --local``: list or show sessions from log files."""

import argparse

from cordboard.cli import _logs_output, _output
from cordboard.cli._logs_query import lines_command, open_reader, window
from cordboard.contract.errors import NotFoundError
from cordboard.contract.ids import check_session_id
from cordboard.logs.coverage import count
from cordboard.logs.gaps import holes
from cordboard.logs.query import Query
from cordboard.logs.reader import Reader
from cordboard.logs.summary import SessionSummary, add_missing, sessions_of
from cordboard.logs.takeovers import TakeOver
from cordboard.logs.timespec import seconds


def run(args: argparse.Namespace) -> int:
    """Print the sessions of the log files that ``args`` names; return the exit status."""
    since, until = window(args.time, args.since, args.until, around=args.around)
    session = None if args.session is None else check_session_id(args.session)
    reader = open_reader(args, Query(since=since, until=until, session=session))
    try:
        matches = [summary for summary in _summaries(reader) if _is_match(summary, args)]
        coverage = reader.coverage()
    finally:
        reader.close()
    if session is not None and not matches:
        where = "this window of the logs" if since or until else "the logs"
        raise NotFoundError(
            f"Session {session} was not found in {where}.",
            hint=f"Lines that mention it: {lines_command(args, session)} --mentions",
        )
    _print(matches, args)
    if not coverage.complete:
        _logs_output.print_coverage(coverage)
    return _logs_output.exit_status(coverage)


def _summaries(reader: Reader) -> list[SessionSummary]:
    """Return a summary of each session, the newest first."""
    query = reader.query
    summaries = sessions_of(reader.lines())
    missing = holes(reader.tracks, query.first, query.end)
    add_missing(summaries.values(), missing, whole=query.since is None)
    return sorted(summaries.values(), key=lambda summary: summary.facts.first, reverse=True)


def _is_match(summary: SessionSummary, args: argparse.Namespace) -> bool:
    return (
        (args.state is None or summary.state == args.state)
        and (args.room is None or summary.room == args.room)
        and (args.user is None or args.user in summary.people)
    )


def _print(summaries: list[SessionSummary], args: argparse.Namespace) -> None:
    shown = summaries[: args.limit]
    if args.output == "json":
        for summary in shown:
            _output.print_line(_output.to_json(summary.as_dict()))
    elif args.session is not None:
        _output.print_line(
            f"{_details(shown[0])}\n\nIts lines: {lines_command(args, args.session)}"
        )
    else:
        _output.print_line(_table(shown) if shown else "No sessions.")
        if len(summaries) > len(shown):
            hidden = len(summaries) - len(shown)
            _output.print_line(
                f"… {hidden:,} more; use --limit to show {'it' if hidden == 1 else 'them'}."
            )


def _table(summaries: list[SessionSummary]) -> str:
    rows: list[tuple[str, ...]] = [
        (
            "SESSION",
            "STATE",
            "REASON",
            "ROOM",
            "USER",
            "FIRST LINE",
            "DURATION",
            "ATTEMPTS",
            "LINES",
            "ERRORS",
            "MISSING",
        )
    ]
    rows += [
        (
            summary.facts.session,
            summary.state,
            summary.reason,
            _output.truncate_room(summary.room or ""),
            _output.truncate_name(summary.user or ""),
            _output.format_local_time(summary.facts.first.decode()),
            "" if summary.seconds is None else _output.format_duration(summary.seconds),
            str(summary.attempts or ""),
            str(summary.lines),
            str(summary.errors or ""),
            _missing(summary),
        )
        for summary in summaries
    ]
    return _output.format_table(rows)


def _details(summary: SessionSummary) -> str:
    begin = seconds(summary.facts.first)
    fields = [
        (name, str(value))
        for name, value in summary.as_dict().items()
        if value not in (None, []) and name != "takeOvers"
    ]
    events = [
        (
            f"  {step.event}",
            step.service,
            f"{step.at.decode()}  +{(seconds(step.at) - begin) * 1000:.0f} ms",
        )
        for step in summary.facts.steps
    ]
    tables = [_output.format_table(fields)]
    if summary.take_overs:
        rows = [_take_over(item) for item in summary.take_overs]
        tables.append(f"take-overs\n{_output.format_table(rows)}")
    if events:
        tables.append(f"events\n{_output.format_table(events)}")
    return "\n\n".join(tables)


def _take_over(item: TakeOver) -> tuple[str, ...]:
    return (
        f"  epoch {item.epoch}",
        item.died_words,
        item.known,
        f"taken by {item.runner or 'unknown'}",
        item.silence_words,
    )


def _missing(summary: SessionSummary) -> str:
    """Return how many lines are missing, and the services that wrote none although they should."""
    lines = [f"up to {count(summary.missing, 'line')}"] if summary.missing else []
    return ", ".join([*lines, *(f"{service} silent" for service in summary.silent)])
