"""The forms of `cordboard logs` that need all lines first: -o brief, --against, --context."""

import argparse
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from cordboard.cli import _logs_files, _logs_output, _logs_query
from cordboard.contract.errors import UsageError
from cordboard.contract.ids import check_session_id

if TYPE_CHECKING:
    from cordboard.logs.coverage import Coverage
    from cordboard.logs.query import Query
    from cordboard.logs.reader import Reader
    from cordboard.logs.report.model import Model

_BYTES_MAX: Final = 1 << 20


def print_brief(args: argparse.Namespace, reader: "Reader") -> "Coverage":
    """Print what is known of a session, or of the sessions of a window."""
    from cordboard.logs.report.brief import BYTES, BYTES_LEAST, brief

    most = BYTES if args.max_bytes is None else _number("--max-bytes", args.max_bytes)
    if not BYTES_LEAST <= most <= _BYTES_MAX:
        raise UsageError(
            f"--max-bytes {most}: expected a number from {BYTES_LEAST} to {_BYTES_MAX}."
        )
    model = _model(args, reader)
    session = model.session.session_id if model.session else None
    command = _logs_query.lines_command(args, reader.query.session or session or "ID")
    _write(brief(model, command, most))
    return model.coverage


def print_comparison(args: argparse.Namespace, reader: "Reader") -> "Coverage":
    """Print where two sessions first differ."""
    from cordboard.logs.report import against

    if args.session is None:
        raise UsageError("--against needs --session ID.")
    if args.output == "raw":
        raise UsageError("--against cannot be combined with -o raw.", hint="Use -o json.")
    other = check_session_id(args.against)
    if other == args.session:
        raise UsageError(f"--against {other}: expected another session than --session.")
    one = _model(args, reader)
    theirs = _logs_query.open_reader(args, reader.query._replace(session=other), is_located=True)
    try:
        found = against.compare(one, _model(args, theirs))
    finally:
        theirs.close()
    if _logs_output.format_of(args) == "json":
        from cordboard.cli._output import to_json

        _write(f"{to_json(found.as_dict())}\n")
    else:
        _write("".join(f"{line}\n" for line in against.text(found)))
    return found.coverage


def print_context(args: argparse.Namespace, reader: "Reader") -> "Coverage":
    """Print lines with those of the same process around them."""
    from cordboard.logs.around import LINES_MAX, with_context
    from cordboard.logs.query import filters

    lines = _number("--context", args.context)
    if not 1 <= lines <= LINES_MAX:
        raise UsageError(f"--context {lines}: expected a number from 1 to {LINES_MAX}.")
    if not filters(reader.query):
        raise UsageError(
            "--context needs a filter: without one, all lines are printed.",
            hint="Add --grep, --level, --where or --session.",
        )
    if args.fix_skew:
        raise UsageError("--context cannot be combined with --fix-skew.")

    def opened(query: "Query") -> "Reader":
        return _logs_query.open_reader(args, query)

    render = _logs_output.renderer(_logs_output.format_of(args), sessions=True)
    _print_pieces(args, map(render, with_context(reader, opened, lines)))
    return reader.coverage()


PRINTERS: Final[dict[str, Callable[[argparse.Namespace, "Reader"], "Coverage"]]] = {
    "brief": print_brief,
    "against": print_comparison,
    "context": print_context,
}


def _number(option: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"{option} {text}: expected a number.")
    return int(text[:12])


def _model(args: argparse.Namespace, reader: "Reader") -> "Model":
    """Read the lines; return what a report would be made of."""
    from dataclasses import replace

    from cordboard.logs.report.entry import clean_record
    from cordboard.logs.report.model import ModelMaker

    header = replace(_logs_files.header(args, reader.query), session_id=reader.query.session)
    maker = ModelMaker(header)
    for line in reader.lines():
        maker.add(clean_record(line.record))
    return maker.model(reader.coverage())


def _write(text: str) -> None:
    sys.stdout.buffer.write(text.encode("utf-8", "replace"))


def _print_pieces(args: argparse.Namespace, pieces: Iterator[bytes]) -> None:
    is_paged = sys.stdout.isatty() and not args.no_pager
    with _logs_output.output(is_paged=is_paged) as out:
        try:
            for piece in pieces:
                out.write(piece)
        except BrokenPipeError:
            if not is_paged:  # the user may leave the pager before the end
                raise
