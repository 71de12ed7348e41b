"""``cordboard why``: why a call broke, with the lines that prove it."""

import argparse
from typing import TYPE_CHECKING, Final

from cordboard.cli import _options
from cordboard.cli._startup import without_collection

if TYPE_CHECKING:
    from cordboard.logs.query import Query
    from cordboard.logs.why import Answer, StoryMaker

_EPILOG: Final = """\
examples:
  cordboard why ID                             one call of this machine
  cordboard why --prod ID                      one call of an environment of cordboard.toml
  cordboard why --dir logs/ ID                 from a directory of log files
  cordboard why --prod -t 1h ID                search only the last hour
  cordboard why ID -o json | jq -r .cause      the cause alone, for a script

The answer is one cause of a closed list (docs/why.md), or `unknown` if the lines do not prove one. It
names the lines that prove it, the causes that lines rule out, and those that could not be checked.

Exit status: 0 for a cause with complete lines, 3 if lines or evidence are missing (they are named), 2 for
invalid arguments, 1 if the session was not found or the command failed.
"""

_EXIT_ANSWERED: Final = 0
_EXIT_INCOMPLETE: Final = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to ``parser``."""
    from cordboard.cli import logs

    parser.epilog = _EPILOG
    _options.refuse_repeats(parser)
    parser.add_argument("session", metavar="ID", help="the session")
    logs.add_sources(parser)
    _options.add_window(parser)
    _options.add_output(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="print no progress on stderr")
    _options.add_config(parser)


def run(args: argparse.Namespace) -> int:
    """Print why the call broke; return the exit status."""
    with without_collection():
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    from cordboard.cli import _logs_query, _output
    from cordboard.contract.errors import NotFoundError, UsageError
    from cordboard.contract.ids import check_session_id
    from cordboard.logs.query import Query

    for name in ("env", "dir"):
        if getattr(args, name) == "":
            raise UsageError(f"--{name} '': expected a name.")
    session = check_session_id(args.session)
    since, until = _logs_query.window(args.time, args.since, args.until, around=args.around)
    answer = _answer(args, Query(since=since, until=until, session=session, fix_skew=True))
    command = _logs_query.lines_command(args, session)
    if answer is None:
        where = "this window of the logs" if since or until else "the logs"
        raise NotFoundError(
            f"Session {session} was not found in {where}.",
            hint=f"Lines that mention it: {command} --mentions",
        )
    if args.output == "json":
        _output.print_line(
            _output.to_json({"sessionId": session, **answer.as_dict(), "logs": command})
        )
    else:
        _print(answer, session, command)
    return _exit_status(answer)


def _answer(args: argparse.Namespace, query: "Query") -> "Answer | None":
    """Read the lines of the session, and those of its servers if they may matter.

    Returns:
        The answer; None if no line of the session was found.
    """
    import sys

    from cordboard.cli import _logs_output, _logs_query
    from cordboard.logs.why import StoryMaker, answer, servers_window

    progress = _logs_output.Progress(shown=sys.stderr.isatty() and not args.quiet)
    reader = _logs_query.open_reader(args, query, progress=progress, is_located=True)
    maker = StoryMaker()
    try:
        for line in reader.lines():
            maker.add(line.record)
        coverage = reader.coverage()
    finally:
        reader.close()
    story = maker.story(coverage)
    window = servers_window(story)
    if window is not None:
        _add_servers(args, maker, *window)
        story = maker.story(coverage)
    progress.clear()
    return answer(story) if story.lines else None


def _add_servers(args: argparse.Namespace, maker: "StoryMaker", since: str, until: str) -> None:
    """Read what the servers tell of Redis in a window of time."""
    import re

    from cordboard.cli import _logs_query
    from cordboard.logs.query import Query
    from cordboard.logs.why.story import REDIS_AWAY

    query = Query(since=since, until=until, level="warn", grep=re.compile(f"^{REDIS_AWAY}"))
    reader = _logs_query.open_reader(args, query)
    try:
        for line in reader.lines():
            maker.add_server(line.record)
    finally:
        reader.close()


def _print(answer: "Answer", session: str, command: str) -> None:
    import sys

    from cordboard.cli import _logs_output, _output
    from cordboard.logs.why.text import text

    for line in text(answer, session, command, color=_logs_output.has_color(sys.stdout)):
        _output.print_line(line)


def _exit_status(answer: "Answer") -> int:
    from cordboard.logs.why import UNKNOWN

    is_whole = answer.complete and answer.cause != UNKNOWN
    return _EXIT_ANSWERED if is_whole else _EXIT_INCOMPLETE
