"""What was lost between the nodes and a store, where an environment has both: their copies are compared by number.

The answer has these lines, from the node: nothing is missing from it. The store is what loses them.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from cordboard.logs.coverage import MAY_ARRIVE, Shortfall
from cordboard.logs.filters import Prefilter
from cordboard.logs.formats.wrappers import number_of
from cordboard.logs.query import Query
from cordboard.logs.scan import Scan
from cordboard.logs.sequence import Gap
from cordboard.logs.session import SessionFacts
from cordboard.logs.stream import Track
from cordboard.logs.survey import Run, joined
from cordboard.logs.timespec import shifted, timestamp

_STORE: Final = "stream"
_NODES: Final = ("container", "file")
# So many losses are named, each after a look at its lines.
_NAMED_MAX: Final = 16
# As late as lines arrive in the slowest of the stores.
_SETTLING_S: Final = 120.0


def lost_in_stores(
    query: Query, tracks: Sequence[Track], facts: SessionFacts | None
) -> Iterator[str]:
    """Yield a sentence for each run of lines that a node has and a store has not.

    A store that could not be read whole proves nothing. Compared is from the first to the last line that the store
    has of a process, and in a query of a session each process of which the store has no line.

    Args:
        query: The query.
        tracks: All streams; their ledgers hold the numbers that were seen.
        facts: Of the session that was asked for; None for a window.
    """
    nodes = [track for track in tracks if track.kind in _NODES]
    since, until = query.first, query.end
    if facts is not None:
        since, until = max(since, facts.first), min(until, shifted(facts.last, 0.000001))
    for store in tracks:
        if store.kind != _STORE or not all(map(_is_settling, store.all_shortfalls())):
            continue
        end = min(until, shifted(timestamp(datetime.now(UTC)).encode(), -_SETTLING_S))
        lost = [gap for node in nodes for gap in _not_held(node, store, facts)]
        certain = _within(lost[:_NAMED_MAX], nodes, since, end)
        for gap, node in certain:
            yield (
                f"Lost between node and store: {gap} of {node}. The line{'s' if gap.last > gap.first else ''} "
                f"did not reach {store.name}."
            )


def _is_settling(why: Shortfall) -> bool:
    return why.reason == "not_settled" and why.detail.startswith(MAY_ARRIVE)


def _not_held(node: Track, store: Track, facts: SessionFacts | None) -> Iterator[Gap]:
    """Yield the numbers that a node has, and a store has not though it has others around them."""
    for boot, found in node.sequence_index.runs.items():
        held = joined(store.sequence_index.runs.get(boot, ()))
        if held:
            low, high = held[0][0], held[-1][1]
        elif facts is not None and boot.decode() in facts.boots:
            low, high = 0, 1 << 62
        else:
            continue
        for first, last in _without(joined(found), held):
            if max(first, low) <= min(last, high):
                yield Gap(boot.decode(), max(first, low), min(last, high))


def _without(runs: Iterable[Run], held: Sequence[Run]) -> Iterator[Run]:
    """Yield the parts of runs in which no held run is; both are in order."""
    for first, last in runs:
        begin = first
        for low, high in held:
            if high < begin:
                continue
            if low > last:
                break
            if low > begin:
                yield begin, low - 1
            begin = high + 1
        if begin <= last:
            yield begin, last


def _within(
    lost: Sequence[Gap], nodes: Iterable[Track], since: bytes, until: bytes
) -> Iterator[tuple[Gap, str]]:
    """Yield the losses that begin and end within a window, or the part of them that does, each with its node."""
    boots = sorted({gap.boot for gap in lost})
    held: dict[str, dict[int, str]] = {boot: {} for boot in boots}
    terms = (tuple(boot.encode() for boot in boots),)
    for node in nodes if boots else ():
        for entry in Scan(node, Prefilter(terms), since, until).entries():
            number = number_of(entry.raw)
            if number is not None and (boot := number[0].decode()) in held:
                held[boot][number[1]] = node.name
    for gap in lost:
        there = [number for number in held[gap.boot] if gap.first <= number <= gap.last]
        if there:
            yield Gap(gap.boot, min(there), max(there)), held[gap.boot][min(there)]
