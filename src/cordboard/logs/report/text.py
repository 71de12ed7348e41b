"""The report for a ticket: plain text, 100 columns, no character that steers a terminal."""

import unicodedata
from collections.abc import Iterable, Iterator
from typing import Final

from cordboard.logs.coverage import REASONS, Answer, count
from cordboard.logs.report.attempts import Attempt
from cordboard.logs.report.entry import Entry
from cordboard.logs.report.lanes import BUCKETS, Lane
from cordboard.logs.report.model import Model, Session
from cordboard.logs.report.stages import Stage
from cordboard.logs.report.trouble import Block
from cordboard.logs.report.turns import Turn
from cordboard.logs.report.units import clock, day_and_clock, length, microseconds
from cordboard.logs.report.visible import one_line, visible
from cordboard.logs.takeovers import TakeOver

COLUMNS: Final = 100
_BAR: Final = 30
_LANE: Final = 60
_LANE_MARKS: Final = {"": ".", "event": "+", "warn": "!", "error": "X"}
_RANK: Final = {mark: rank for rank, mark in enumerate(" .+!X")}
_MARKS: Final = {"ok": "[OK]", "warn": "[!]", "bad": "[FAILED]", "unknown": "[?]"}


def report(model: Model, lines: Iterable[Entry], left_out: int = 0) -> Iterator[str]:
    """Give the report, line by line.

    Args:
        model: What was found.
        lines: All lines that are to be shown.
        left_out: How many of the middle are not among them.
    """
    yield from _head(model)
    session = model.session
    if session is not None:
        yield from _about(session)
        yield from _startup(session)
        yield from _turns(session)
        yield from _attempts(session)
        yield from _take_overs(session)
    else:
        yield from _sessions(model)
    yield from _lanes(model)
    yield from _troubles(model)
    if session is not None:
        yield from _section("EVENTS", _entries(session.events))
    yield from _section("COVERAGE", _coverage(model))
    yield from _section(
        f"ALL LINES ({model.lines:,})", _all_lines(lines, left_out, named=session is None)
    )
    yield from _footer(model)


def wrapped(text: str, indent: str = "", hanging: str | None = None) -> Iterator[str]:
    """Give ``text`` in lines of at most COLUMNS columns; wide characters count as two."""
    following = indent if hanging is None else hanging
    start = indent
    for paragraph in visible(text).replace("\t", "    ").split("\n"):
        rest = paragraph
        while True:
            room = COLUMNS - width(start)
            at = _fits(rest, room)
            if at < len(rest):
                space = rest.rfind(" ", 0, at + 1)
                at = space if space > at // 3 else at
            yield (start + rest[:at]).rstrip()
            start = following
            rest = rest[at:].lstrip(" ")
            if not rest:
                break


def width(text: str) -> int:
    """Return how many columns a text takes."""
    return len(text) if text.isascii() else sum(_wide(character) for character in text)


def _wide(character: str) -> int:
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def _fits(text: str, room: int) -> int:
    if len(text) <= room and text.isascii():
        return len(text)
    used = 0
    for at, character in enumerate(text):
        used += _wide(character)
        if used > room:
            return max(at, 1)
    return len(text)


def padded(text: str, columns: int) -> str:
    """Return a text of one line, cut or filled to so many columns."""
    flat = one_line(text)
    if width(flat) > columns:
        flat = flat[: _fits(flat, columns - 1)] + "…"
    return flat + " " * (columns - width(flat))


def _section(title: str, body: Iterable[str]) -> Iterator[str]:
    yield ""
    yield title
    yield "-" * len(title)
    yield from body


def _head(model: Model) -> Iterator[str]:
    session = model.session
    yield from wrapped(f"CORDBOARD REPORT  {session.session_id if session else ''}".rstrip())
    yield "=" * COLUMNS
    yield from wrapped(f"{_MARKS[model.verdict.tone]} {model.verdict.headline}", "", "    ")
    for sentence in model.verdict.details:
        yield from wrapped(sentence, "    ")


def _footer(model: Model) -> Iterator[str]:
    header = model.header
    yield ""
    window = " to ".join(filter(None, [header.since, header.until]))
    parts = [
        f"Created {header.made_at}",
        f"environment {header.environment}",
        window and f"window {window}",
    ]
    yield from wrapped(", ".join(filter(None, parts)))
    if header.command:
        yield from wrapped(f"Command: {header.command}")


def _about(session: Session) -> Iterator[str]:
    facts = {
        "Session": session.session_id,
        "User": " / ".join(filter(None, [session.user_name, session.user_id])),
        "Room": session.room or "",
        "Bot": session.bot,
        "First line": day_and_clock(session.first_us),
        "Last line": day_and_clock(session.last_us),
        "Bot ran": length(session.length_ms) if session.length_ms is not None else "",
        "End": " / ".join(filter(None, [session.state, session.reason])) or "not in these lines",
    }
    body = (
        line
        for name, value in facts.items()
        if value
        for line in wrapped(value, f"{name:<12}", " " * 12)
    )
    yield from _section("ABOUT THIS SESSION", body)


def _startup(session: Session) -> Iterator[str]:
    path = session.startup
    if not path.stages:
        return
    total = f"  {length(path.total_ms)}" if path.total_ms is not None else ""
    end = max((item.ms for item in path.stages if item.ms is not None), default=0.0)
    head = f"{'at':>12} {'step':>12}  {'stage':<31} {'service':<10} "
    rows = [head.rstrip(), *(_stage(item, max(end, 1.0)) for item in path.stages)]
    yield from _section(f"FROM CLICK TO FIRST AUDIO{total}", rows)
    yield f"(measured from {path.zero}; each service uses its own clock)"


def _stage(item: Stage, end: float) -> str:
    if item.ms is None:
        return f"{'no line':>12} {'':>12}  {item.label}"
    step = f"+{length(item.step_ms)}" if item.step_ms is not None else ""
    label = f"! {item.label}" if item.setback else item.label
    times = f" ({item.times} times)" if item.times > 1 else ""
    start = min(int(max(item.ms - (item.step_ms or 0), 0) / end * _BAR), _BAR - 1)
    stop = max(int(max(item.ms, 0) / end * _BAR), start + 1)
    bar = " " * start + "#" * (stop - start)
    service = padded(item.service, 10)
    return f"{length(item.ms):>12} {step:>12}  {padded(label + times, 31)} {service} {bar}".rstrip()


def _turns(session: Session) -> Iterator[str]:
    if not session.turns:
        return
    found = session.latency
    title = "TURNS"
    if found is not None:
        title += f"  user to bot: median {length(found.median_ms)}, worst {length(found.worst_ms)}"
    head = f"{'turn':>6}  {'began':<12} {'duration':>12} {'user to bot':>12}  parts"
    yield from _section(title, [head])
    for turn in session.turns:
        yield from _turn(turn)


def _turn(turn: Turn) -> Iterator[str]:
    state = ["interrupted"] if turn.interrupted else ["open"] if turn.ended_us is None else []
    parts = [f"{one_line(name, 60)} {length(part)}" for name, part in turn.ttfb_ms]
    start = (
        f"{padded(turn.number, 6).strip():>6}  {clock(turn.started_us)} "
        f"{length(turn.duration_ms):>12} {length(turn.latency_ms):>12}  "
    )
    yield from wrapped(", ".join([*parts, *state]), start, " " * len(start))


def _attempts(session: Session) -> Iterator[str]:
    found = session.attempts
    if len(found) < 2 and not any(item.failed for item in found):  # noqa: PLR2004 - more than one
        return
    yield from _section("ATTEMPTS", (line for item in found for line in _attempt(item)))


def _attempt(item: Attempt) -> Iterator[str]:
    facts = [
        f"attempt {item.number}" if item.number else "",
        f"runner {item.runner}" if item.runner else "",
        f"process {item.pid}" if item.pid else "",
        "the bot ran" if item.started else "the bot did not run",
        item.outcome or "its end is not in these lines",
    ]
    words = one_line("; ".join(filter(None, facts)))
    yield from wrapped(words, f"epoch {item.epoch}, {clock(item.began_us)}: ", "    ")


def _take_overs(session: Session) -> Iterator[str]:
    if session.take_overs:
        lines = (line for item in session.take_overs for line in _take_over(item))
        yield from _section("TAKE-OVERS", lines)


def _take_over(item: TakeOver) -> Iterator[str]:
    facts = [
        item.died_words,
        f"known by: {item.known}" if item.known else "",
        f"attempt {item.attempt}" if item.attempt is not None else "",
        f"taken by {item.runner}" if item.runner else "taken by an unknown runner",
        item.silence_words,
    ]
    words = one_line("; ".join(filter(None, facts)))
    yield from wrapped(words, f"epoch {item.epoch}, {clock(item.us)}: ", "    ")


def _sessions(model: Model) -> Iterator[str]:
    if not model.sessions:
        return
    yield from _section("SESSIONS", (line for item in model.sessions for line in _line_of(item)))
    if model.others:
        yield f"and {model.others:,} more"


def _line_of(item: Session) -> Iterator[str]:
    who = " / ".join(filter(None, [item.user_name, item.room]))
    yield from wrapped(f"{item.session_id}  {who}", f"{day_and_clock(item.first_us)}  ", "    ")
    yield from wrapped(one_line(item.verdict.headline), "    ")


def _lanes(model: Model) -> Iterator[str]:
    told = model.lanes
    if not told.lanes:
        return
    span = ((told.last_us or 0) - (told.first_us or 0)) / 1000
    title = f"SERVICES OVER TIME  {clock(told.first_us)} to {clock(told.last_us)}, {length(span)}"
    yield from _section(title, (_lane(lane) for lane in told.lanes))
    yield "(. lines, + event, ! warning, X error)"


def _lane(lane: Lane) -> str:
    cells = [" "] * _LANE
    for mark in lane.marks:
        at = mark.at * _LANE // BUCKETS
        cells[at] = max(cells[at], _LANE_MARKS[mark.worst], key=_RANK.__getitem__)
    return f"{padded(lane.service, 16)} |{''.join(cells)}| {lane.lines:,}"


def _troubles(model: Model) -> Iterator[str]:
    found = model.troubles
    title = f"ERRORS IN CONTEXT  {count(found.errors, 'error')}, {count(found.warnings, 'warning')}"
    yield from _section(title, [])
    for block in sorted(found.blocks, key=lambda item: item.worst != "error"):
        yield from _block(block, named=model.session is None)
        yield ""
    if found.left_out:
        yield f"{count(found.left_out, 'more is', 'more are')} among the lines below."
    if not found.blocks:
        yield "none in these lines"


def _block(block: Block, *, named: bool) -> Iterator[str]:
    for item in block.entries:
        yield from _entry(item, "> " if item.bad else "  ", stack=item.bad, named=named)


def _entries(entries: Iterable[Entry]) -> Iterator[str]:
    for item in entries:
        yield from _entry(item, "", stack=False)


def _all_lines(entries: Iterable[Entry], left_out: int, *, named: bool) -> Iterator[str]:
    before = -1
    for item in entries:
        if item.index != before + 1:
            words = count(left_out, "line in the middle is", "lines in the middle are")
            yield f"... {words} not in this report ..."
        before = item.index
        yield from _entry(item, "", stack=True, named=named)


def _entry(item: Entry, lead: str, *, stack: bool, named: bool = False) -> Iterator[str]:
    start = f"{lead}{clock(item.us)} {item.level:<5} {padded(item.service, 10)} "
    whose = f"[{item.session_id}]" if named and item.session_id else None
    words = "  ".join(filter(None, [whose, item.event, item.said]))
    yield from wrapped(words, start, " " * (len(lead) + 13))
    if stack and item.stack.strip():
        yield from wrapped(item.stack.strip("\n"), " " * (len(lead) + 13) + "| ")


def _coverage(model: Model) -> Iterator[str]:
    coverage = model.coverage
    yield "complete" if coverage.complete else "INCOMPLETE"
    for answer in coverage.answers:
        yield from _answer(answer)
    for name, number in coverage.counts.items():
        if number:
            yield from wrapped(count(number, f"{name} line"))
    for name, number in coverage.attribution.items():
        if number:
            yield from wrapped(f"attribution {name}: {count(number, 'line')}")
    for note in coverage.notes:
        yield from wrapped(note)


def _answer(answer: Answer) -> Iterator[str]:
    times = [clock(microseconds(at)) for at in (answer.first, answer.last) if at]
    words = f"{count(answer.lines, 'line')}{', ' if times else ''}{' to '.join(times)}"
    yield from wrapped(f"{one_line(answer.name)} ({one_line(answer.kind)}): {words}", "  ", "    ")
    for item in answer.shortfalls:
        detail = f" ({item.detail})" if item.detail else ""
        words = f"{item.reason}: {REASONS.get(item.reason, '')}{detail}"
        yield from wrapped(one_line(words), "    MISSING  ", "    ")
