"""The records of a call as plain text: who spoke when, the network at both ends, tools, usage."""

from collections.abc import Iterator, Sequence
from typing import Final

from cordboard.logs.coverage import count
from cordboard.logs.report.columns import padded, title, wrapped
from cordboard.logs.report.entry import clock, length, one_line
from cordboard.logs.report.prices import Prices
from cordboard.logs.report.records import NetworkEnd, Span, Speech, Tool, Usage, total_ms
from cordboard.logs.report.stages import Stay

_LANE: Final = 60
_WARNINGS_SHOWN: Final = 100


def sections(stay: Stay, prices: Prices) -> Iterator[str]:
    """Give the sections of which there are lines."""
    if stay.speech.lanes:
        yield from _speech(stay.speech)
    if stay.network:
        yield from _network(stay.network)
    if stay.tools:
        yield from _tools(stay.tools)
    if stay.usage:
        yield from _usage(stay.usage, prices)


def _speech(told: Speech) -> Iterator[str]:
    first, last = told.first_us, told.last_us
    yield from title(f"SPEECH  {clock(first)} to {clock(last)}, {length((last - first) / 1000)}")
    for who, spans in told.lanes:
        yield f"{who:<16} |{_lane(spans, first, last)}| {length(total_ms(spans))}"


def _lane(spans: Sequence[Span], first: int, last: int) -> str:
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


def _usage(used: Sequence[Usage], prices: Prices) -> Iterator[str]:
    total = prices.words(prices.total(used))
    yield from title(f"USAGE  {total}" if total else "USAGE")
    for item in used:
        cost = prices.words(prices.cost(item))
        who = f"{item.processor} ({item.model})" if item.model else item.processor
        said = ", ".join([*item.words, *([f"cost {cost}"] if cost else [])])
        yield from wrapped(f"{who}: {said}", "", "    ")
