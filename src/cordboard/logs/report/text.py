"""The report for a ticket: plain text, 100 columns, no character that steers a terminal."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from cordboard.logs.coverage import count
from cordboard.logs.report.columns import COLUMNS, padded, title, wrapped
from cordboard.logs.report.entry import (
    Entry,
    clock,
    day_and_clock,
    length,
    microseconds,
    one_line,
)
from cordboard.logs.report.lanes import BUCKETS, Lanes, Troubles
from cordboard.logs.report.model import Model, Session
from cordboard.logs.report.prices import Prices
from cordboard.logs.report.records import NetworkEnd, Span, Speech, Tool, total_ms
from cordboard.logs.report.stages import NAMES, SETBACKS, Attempt, Startup
from cordboard.logs.report.turns import Turn
from cordboard.logs.takeovers import TakeOver
from cordboard.logs.why import Answer
from cordboard.logs.why.rules import TITLES
from cordboard.logs.why.text import references

_BAR: Final = 30  # columns
_LANE: Final = 60  # columns
_WARNINGS_SHOWN: Final = 100  # of one end of a connection
_LANE_MARKS: Final = {"": ".", "event": "+", "warn": "!", "error": "X"}
_RANK: Final = " .+!X"
_MARKS: Final = {"ok": "[OK]", "warn": "[!]", "bad": "[FAILED]", "unknown": "[?]"}


def report(model: Model, lines: Iterable[Entry], left_out: int = 0) -> Iterator[str]:
    """Give the report, line by line.

    Args:
        model: What was found.
        lines: All lines that are to be shown.
        left_out: How many of the middle are not among them.
    """
    session = model.session
    yield from wrapped(f"CORDBOARD REPORT  {session.session_id if session else ''}".rstrip())
    yield "=" * COLUMNS
    yield from wrapped(f"{_MARKS[model.verdict.tone]} {model.verdict.headline}", "", "    ")
    for sentence in model.verdict.details:
        yield from wrapped(sentence, "    ")
    if model.cause is not None:
        yield from _cause(model.cause)
    yield from _of_one(session, model.header.prices) if session else _sessions(model)
    yield from _lanes(model.lanes)
    yield from _troubles(model.troubles, named=session is None)
    if session is not None:
        yield from title("EVENTS")
        for item in session.timeline:
            yield from _entry(item)
    yield from title("COVERAGE")
    yield from _coverage(model)
    yield from title(f"ALL LINES ({model.lines:,})")
    yield from _all_lines(lines, left_out, named=session is None)
    yield ""
    yield from wrapped(", ".join(model.header.facts))
    if model.header.command:
        yield from wrapped(f"Command: {model.header.command}")


# --- sections


def _cause(cause: Answer) -> Iterator[str]:
    yield from title(f"CAUSE  {cause.title}")
    for sentence in filter(None, [cause.words, cause.effect_words, cause.advice]):
        yield from wrapped(one_line(sentence))
    for line in cause.lines:
        said = " ".join(filter(None, [line.event, str(line.record.get("message"))]))
        yield from wrapped(f"{one_line(said)}{references([line])}", f"{clock(line.us)} ", "    ")
    groups = {
        "also found": cause.also,
        "ruled out": cause.ruled_out,
        "not checked": cause.unchecked,
    }
    for name, found in groups.items():
        if found:
            yield from wrapped(f"{name}: {', '.join(TITLES[other] for other in found)}")
    for words in cause.missing:
        yield from wrapped(f"missing: {one_line(words)}", "", "    ")


def _of_one(session: Session, prices: Prices) -> Iterator[str]:
    yield from title("ABOUT THIS SESSION")
    facts = {
        "Session": session.session_id,
        "User": " / ".join(filter(None, [session.user_name, session.user_id])),
        "Room": session.room,
        "Bot": session.bot,
        "First line": day_and_clock(session.first_us),
        "Last line": day_and_clock(session.last_us),
        "Bot ran": length(session.length_ms) if session.length_ms is not None else "",
        "End": " / ".join(filter(None, [session.state, session.reason])) or "not in these lines",
    }
    for name, value in facts.items():
        if value:
            yield from wrapped(value, f"{name:<12}", " " * 12)
    if session.startup.stages:
        yield from _startup(session.startup)
    if session.turns:
        yield from _turns(session)
    yield from _records(session, prices)
    if session.notable_attempts:
        yield from title("ATTEMPTS")
        yield from _attempts(session.notable_attempts)
    if session.take_overs:
        yield from title("TAKE-OVERS")
        yield from _take_overs(session.take_overs)


def _startup(path: Startup) -> Iterator[str]:
    total = f"  {length(path.total_ms)}" if path.total_ms is not None else ""
    yield from title(f"FROM CLICK TO FIRST AUDIO{total}")
    yield f"{'at':>12} {'step':>12}  {'stage':<31} service"
    for item in path.stages:
        if item.ms is None or item.line is None:
            yield f"{'no line':>12} {'':>12}  {NAMES[item.event]}"
            continue
        step = f"+{length(item.step_ms)}" if item.step_ms is not None else ""
        mark = "! " if item.event in SETBACKS else ""
        times = f" ({item.times} times)" if item.times > 1 else ""
        start = min(int(max(item.ms - (item.step_ms or 0), 0) / path.end_ms * _BAR), _BAR - 1)
        stop = max(int(max(item.ms, 0) / path.end_ms * _BAR), start + 1)
        label = padded(f"{mark}{NAMES[item.event]}{times}", 31)
        bar = f"{padded(item.line.service, 10)} {' ' * start}{'#' * (stop - start)}"
        yield f"{length(item.ms):>12} {step:>12}  {label} {bar}"
    zero = path.origin.event if path.origin else ""
    yield f"(measured from {zero}; each service uses its own clock)"


def _turns(session: Session) -> Iterator[str]:
    told = {"user to bot": session.latency, "as heard": session.heard}
    about = "; ".join(
        f"{name}: median {length(found.median_ms)}, worst {length(found.worst_ms)}"
        for name, found in told.items()
        if found
    )
    yield from title(f"TURNS  {about}" if about else "TURNS")
    yield f"{'turn':>6}  {'began':<12} {'duration':>12} {'user to bot':>12}  parts"
    for turn in session.turns:
        heard = [_heard(turn)] if turn.heard_ms is not None else []
        parts = [f"{one_line(name, 60)} {length(part)}" for name, part in turn.parts]
        start = (
            f"{padded(turn.number, 6).strip():>6}  {clock(turn.started_us)} "
            f"{length(turn.duration_ms):>12} {length(turn.latency_ms):>12}  "
        )
        said = ", ".join(filter(None, [*parts, *heard, one_line(turn.state, 40)]))
        yield from wrapped(said, start, " " * len(start))
        for who, text in turn.words:
            yield from wrapped(text, f"{'':8}{who}: ", " " * 14)


def _heard(turn: Turn) -> str:
    """Return the latency as heard, and what it has beyond the bot's own."""
    said = f"heard {length(turn.heard_ms)}"
    if turn.later_ms is None:
        return said
    parts = ", ".join(f"{name} {length(part)}" for name, part in turn.later_parts)
    word = "later" if turn.later_ms >= 0 else "earlier"
    return f"{said} ({length(abs(turn.later_ms))} {word}: {parts})"


def _attempts(attempts: Iterable[Attempt]) -> Iterator[str]:
    for item in attempts:
        facts = [
            f"attempt {item.number}" if item.number else "",
            f"runner {item.runner}" if item.runner else "",
            f"process {item.pid}" if item.pid else "",
            "the bot ran" if item.started else "the bot did not run",
            item.outcome or "its end is not in these lines",
        ]
        yield from _of_epoch(item.epoch, item.began_us, facts)


def _take_overs(take_overs: Iterable[TakeOver]) -> Iterator[str]:
    for item in take_overs:
        facts = [
            item.died_words,
            f"known by: {item.known}" if item.known else "",
            f"attempt {item.attempt}" if item.attempt is not None else "",
            f"taken by {item.runner or 'an unknown runner'}",
            item.silence_words,
        ]
        yield from _of_epoch(item.epoch, item.us, facts)


def _of_epoch(epoch: int, us: int | None, facts: Iterable[str]) -> Iterator[str]:
    words = one_line("; ".join(filter(None, facts)))
    return wrapped(words, f"epoch {epoch}, {clock(us)}: ", "    ")


def _sessions(model: Model) -> Iterator[str]:
    if not model.sessions:
        return
    yield from title("SESSIONS")
    for item in model.sessions:
        who = " / ".join(filter(None, [item.user_name, item.room]))
        yield from wrapped(f"{item.session_id}  {who}", f"{day_and_clock(item.first_us)}  ", "    ")
        yield from wrapped(one_line(item.verdict.headline), "    ")
    if model.others:
        yield f"and {model.others:,} more"


def _lanes(told: Lanes) -> Iterator[str]:
    if not told.lanes:
        return
    window = f"{clock(told.first_us)} to {clock(told.last_us)}, {length(told.span_ms)}"
    yield from title(f"SERVICES OVER TIME  {window}")
    for lane in told.lanes:
        cells = [" "] * _LANE
        for mark in lane.marks:
            at = mark.at * _LANE // BUCKETS
            cells[at] = max(cells[at], _LANE_MARKS[mark.worst], key=_RANK.index)
        yield f"{padded(lane.service, 16)} |{''.join(cells)}| {lane.lines:,}"
    yield "(. lines, + event, ! warning, X error)"


def _troubles(found: Troubles, *, named: bool) -> Iterator[str]:
    about = f"{count(found.errors, 'error')}, {count(found.warnings, 'warning')}"
    yield from title(f"ERRORS IN CONTEXT  {about}")
    for block in found.blocks:
        for item in block:
            yield from _entry(item, "> " if item.bad else "  ", stack=item.bad, named=named)
        yield ""
    if found.left_out:
        yield f"{count(found.left_out, 'more is', 'more are')} among the lines below."
    if not found.blocks:
        yield "none in these lines"


def _all_lines(entries: Iterable[Entry], left_out: int, *, named: bool) -> Iterator[str]:
    before = -1
    for item in entries:
        if item.index != before + 1:
            words = count(left_out, "line in the middle is", "lines in the middle are")
            yield f"... {words} not in this report ..."
        before = item.index
        yield from _entry(item, stack=True, named=named)


def _entry(
    item: Entry, lead: str = "", *, stack: bool = False, named: bool = False
) -> Iterator[str]:
    start = f"{lead}{clock(item.us)} {item.level:<5} {padded(item.service, 10)} "
    hanging = " " * (len(lead) + 13)
    yield from wrapped(item.words(named=named), start, hanging)
    if stack and item.stack.strip():
        yield from wrapped(item.stack.strip("\n"), f"{hanging}| ")


def _coverage(model: Model) -> Iterator[str]:
    yield "complete" if model.coverage.complete else "INCOMPLETE"
    for answer in model.coverage.answers:
        times = [clock(microseconds(at)) for at in (answer.first, answer.last) if at]
        said = f"{count(answer.lines, 'line')}{', ' if times else ''}{' to '.join(times)}"
        name = f"{one_line(answer.name)} ({one_line(answer.kind)})"
        yield from wrapped(f"{name}: {said}", "  ", "    ")
        for item in answer.shortfalls:
            yield from wrapped(one_line(item.words), "    MISSING  ", "    ")
    for note in model.notes:
        yield from wrapped(note)


# --- the records of a call: who spoke when, the network at both ends, tools, usage


def _records(stay: Session, prices: Prices) -> Iterator[str]:
    """Give what the records of a call add up to, as far as there are any."""
    if stay.speech.lanes:
        yield from _speech(stay.speech)
    if stay.network:
        yield from _network(stay.network)
    if stay.tools:
        yield from _tools(stay.tools)
    if stay.usage:
        yield from _usage(stay, prices)


def _speech(told: Speech) -> Iterator[str]:
    first, last = told.first_us, told.last_us
    yield from title(f"SPEECH  {clock(first)} to {clock(last)}, {length((last - first) / 1000)}")
    for who, spans in told.lanes:
        yield f"{who:<16} |{_speech_lane(spans, first, last)}| {length(total_ms(spans))}"


def _speech_lane(spans: Sequence[Span], first: int, last: int) -> str:
    cells = [" "] * _LANE
    for begin, end in spans:
        start = min((begin - first) * _LANE // max(last - first, 1), _LANE - 1)
        stop = max(-(-(end - first) * _LANE // max(last - first, 1)), start + 1)
        cells[start:stop] = "#" * (min(stop, _LANE) - start)
    return "".join(cells)


def _network(ends: Sequence[NetworkEnd]) -> Iterator[str]:
    yield from title("NETWORK")
    for end in ends:
        bad = sum(bool(sample.bad) for sample in end.samples)
        facts = [f"{name} {one_line(value)}" for name, value in end.facts.items() if value]
        said = [count(len(end.samples), "sample"), *([f"{bad} beyond a threshold"] if bad else [])]
        yield from wrapped(", ".join([*said, *facts]), f"{padded(end.name, 6)} ", " " * 7)
        for item in end.warnings[:_WARNINGS_SHOWN]:
            until = f"until {clock(item.until_us)}" if item.until_us is not None else "not cleared"
            about = f"value {item.value}, threshold {item.threshold}" if item.value else ""
            words = one_line("; ".join(filter(None, [f"{item.name} {until}", about])))
            yield from wrapped(words, f"{'':7}! {clock(item.us)} ", " " * 9)


def _tools(called: Sequence[Tool]) -> Iterator[str]:
    yield from title("TOOLS")
    for tool in called:
        facts = [f"{one_line(tool.name, 100)}: {one_line(tool.status) or 'no end'}"]
        facts += [length(tool.ms)] if tool.ms is not None else []
        yield from wrapped(", ".join(facts), f"{clock(tool.started_us)} ", " " * 13)
        for name, said in (("arguments", tool.arguments), ("result", tool.result)):
            if said:
                yield from wrapped(said, f"{'':13}{name}: ", " " * 15)


def _usage(stay: Session, prices: Prices) -> Iterator[str]:
    total = prices.words(prices.total(stay.usage))
    least = "at least" if stay.used_at_least else ""
    yield from title("  ".join(filter(None, ["USAGE", " ".join(filter(None, [least, total]))])))
    for item in stay.usage:
        cost = prices.words(prices.cost(item))
        who = f"{item.processor} ({item.model})" if item.model else item.processor
        said = ", ".join([*item.words, *([f"cost {cost}"] if cost else [])])
        yield from wrapped(f"{who}: {said}", "", "    ")
