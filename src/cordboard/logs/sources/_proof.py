"""The proof that a store has, and has returned, all lines of a session: by their numbers, most of which are only counted."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

from cordboard.contract.record import (
    BOOT,
    EVENT,
    RAW,
    SEQ,
    SERVICE,
    SESSION_ID,
    TIMESTAMP,
    TRACE_ID,
)
from cordboard.logs.coverage import Shortfall
from cordboard.logs.formats.codec import decode
from cordboard.logs.formats.wrappers import number_of, unwrap
from cordboard.logs.sequence import Gap
from cordboard.logs.session import BEGINNINGS, is_read
from cordboard.logs.sources._slices import NANOSECONDS, Slice, StoreError, nanoseconds
from cordboard.logs.survey import Run, runs_of
from cordboard.logs.timestamps import own_key, tail_at

SESSION_ENDED: Final = "session.ended"
# As far as `cordboard.logs.search` looks around a session's own lines.
_MARGIN_NS: Final = 2 * NANOSECONDS
# The last lines of a session come up to so long after its end; a later one is of a further stay.
_STRAGGLERS_NS: Final = 5 * NANOSECONDS
# A session begins with one of its first lines: in another process's log they may stand before it.
_BEGINNING_NS: Final = 60 * NANOSECONDS
# How far around the session numbers are counted, so that what lies beside its first and last line is known, and how
# far around that a missing one is looked for: the threads of a process may number lines in another order than they
# time them.
_ASTRAY_NS: Final = 60 * NANOSECONDS
# Beside so many gaps the next lines are read, which tell the times; further ones are named without.
_GAPS_TIMED: Final = 20

Runs = dict[bytes, list[Run]]
"""For each process its numbers, first and last of each run."""


class Count(NamedTuple):
    """How many lines of a process a store has in a slice.

    Attributes:
        lines: How many.
        first: The lowest number among them.
        last: The highest one.
        total: The sum of all of them.
    """

    lines: int
    first: int
    last: int
    total: int

    @property
    def is_proof(self) -> bool:
        """Whether no number between the lowest and the highest one is missing.

        The sum tells a line that stands twice beside one that is missing.
        """
        is_whole = self.lines == self.last - self.first + 1
        return is_whole and 2 * self.total == self.lines * (self.first + self.last)


class Traces(NamedTuple):
    """What the lines that name a session tell of others that belong to it.

    Attributes:
        named: For each of its processes, the numbers of its lines.
        hosts: Those that may serve this session alone: of bots.
        traces: Its traces.
        span: The time of its first line, and of its last.
        near: Its time with a margin, in whole seconds.
        newest: The time of its last line but those of requests that only read, as of its page after its end.
        ended_ns: When its end was last logged; None where it was not, or the session went on.
        has_begun: Whether its beginning is among its first lines.
    """

    named: Mapping[str, set[int]]
    hosts: set[str]
    traces: list[str]
    span: Slice
    near: Slice
    newest: int
    ended_ns: int | None
    has_begun: bool


class Proof:
    """What a store proves of a session's lines.

    Processes that may serve this session alone, and those that the store cannot count, or whose numbers it does not
    return, have to be read whole.

    Args:
        counts: Counts the lines of processes in a slice.
        numbers: Returns the numbers of a process in a slice, each with its time.
        found: What the session's own lines tell.
        near: The slice in which they are.

    Attributes:
        numbers: What the store has of the processes that it counts.
        whole: The processes whose lines have all to be read.
        spots: Slices beside gaps, each with its process, in order: the lines there tell when a gap was.
    """

    def __init__(
        self,
        counts: Callable[[Slice, Sequence[str]], Mapping[str, Count]],
        numbers: Callable[[Slice, str], Iterable[tuple[int, int]]],
        found: Traces,
        near: Slice,
    ) -> None:
        self.numbers: Runs = {}
        wide = _around(near, _ASTRAY_NS)
        told: Mapping[str, Count] = {}
        inner: Mapping[str, Count] = {}
        if near.begin < near.end:
            with suppress(StoreError):  # a user who may not count may read
                told = counts(wide, sorted(found.named))
                if found.hosts:
                    inner = counts(near, sorted(found.hosts))
        self.whole = sorted(found.hosts | (found.named.keys() - told.keys()))
        self._expected = {boot.encode(): set(numbers) for boot, numbers in found.named.items()}
        self._seen: dict[bytes, set[int]] = {boot: set() for boot in self._expected}
        for boot, count in inner.items():
            if count.is_proof:
                self._expected[boot.encode()].update(range(count.first, count.last + 1))
        spots: list[tuple[Slice, str]] = []
        for boot, count in told.items():
            if count.is_proof:
                self.numbers[boot.encode()] = [(count.first, count.last)]
            else:
                held = dict(numbers(_around(wide, _ASTRAY_NS), boot))
                if count.first in held and count.last in held:
                    spots += self._note_held(boot, count, held, found.span)
                else:  # the store counts lines that it does not return
                    self.whole.append(boot)
        self.spots = _apart(spots)

    def watched(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """Yield `lines`; note their numbers."""
        for line in lines:
            number = number_of(line.rstrip(b"\n"))
            if number is not None and number[0] in self._seen:
                self._seen[number[0]].add(number[1])
            yield line

    def not_returned(self) -> Iterator[Shortfall]:
        """Yield the lines that the store has, or has returned before, and that were not among those watched."""
        for boot, expected in self._expected.items():
            for first, last in runs_of(sorted(expected - self._seen[boot])):
                gap = Gap(boot.decode(), first, last)
                yield Shortfall("truncated", f"{gap} in the store, but not returned")

    def _note_held(
        self, boot: str, count: Count, held: Mapping[int, int], span: Slice
    ) -> Iterator[tuple[Slice, str]]:
        """Note the numbers that the store has of a process; yield the places of the lines beside its gaps.

        A gap before or after the session is none of it.
        """
        known = [number for number in sorted(held) if count.first <= number <= count.last]
        runs: list[Run] = []
        for first, last in runs_of(known):
            if runs and (held[runs[-1][1]] > span.end or held[first] < span.begin):
                runs[-1] = (runs[-1][0], last)
                continue
            for number in (runs[-1][1], first) if 0 < len(runs) <= _GAPS_TIMED else ():
                at = held[number] // 1_000_000 * 1_000_000  # some stores have milliseconds
                yield Slice(at, at + 1_000_000), boot
            runs.append((first, last))
        self.numbers[boot.encode()] = runs


def traces_of(lines: Iterable[bytes], session: str) -> Traces | None:
    """Return what the lines of a session tell; None where no line of Cordboard's format names it.

    Args:
        lines: Lines that contain the session's id.
        session: The session.
    """
    named: dict[str, set[int]] = {}
    hosts, traces, keys = set[str](), set[str](), list[bytes]()
    own, begins, ends = list[bytes](), list[bytes](), list[bytes]()
    for line in lines:
        record = _own_record(line.rstrip(b"\n"))
        if record is None or record.get(SESSION_ID) != session:
            continue
        keys.append(str(record[TIMESTAMP]).encode())
        if not is_read(record):
            own.append(keys[-1])
        if record.get(EVENT) in BEGINNINGS:
            begins.append(keys[-1])
        if record.get(EVENT) == SESSION_ENDED:
            ends.append(keys[-1])
        named.setdefault(record[BOOT], set()).add(record[SEQ])
        if record.get(SERVICE) == "bot" and record.get(RAW) is not True:
            hosts.add(record[BOOT])
        trace = record.get(TRACE_ID)
        if isinstance(trace, str) and trace.strip("0-"):
            traces.add(trace)
    if not keys:
        return None
    span = Slice(nanoseconds(min(keys)), nanoseconds(max(keys)))
    first, newest = nanoseconds(min(own or keys)), nanoseconds(max(own or keys))
    ended = nanoseconds(max(ends)) if ends else None
    return Traces(
        named,
        hosts,
        sorted(traces),
        span,
        _around(span, _MARGIN_NS),
        newest,
        None if ended is None or newest > ended + _STRAGGLERS_NS else ended,
        bool(begins) and nanoseconds(min(begins)) <= first + _BEGINNING_NS,
    )


def _around(part: Slice, margin_ns: int) -> Slice:
    """Return a slice of whole seconds around another one."""
    begin = max(0, part.begin - margin_ns) // NANOSECONDS
    return Slice(begin * NANOSECONDS, -(-(part.end + margin_ns) // NANOSECONDS) * NANOSECONDS)


def _own_record(line: bytes) -> dict[str, Any] | None:
    text = unwrap(line).text
    if own_key(text) is None or tail_at(text) < 0:
        return None
    try:
        record = decode(text)
    except (ValueError, RecursionError):
        return None
    is_numbered = isinstance(record, dict) and isinstance(record.get(BOOT), str)
    return record if is_numbered and isinstance(record.get(SEQ), int) else None


def _apart(spots: Iterable[tuple[Slice, str]]) -> list[tuple[Slice, str]]:
    """Return places in the order of time, without those that another one covers."""
    found: list[tuple[Slice, str]] = []
    for spot, boot in sorted(spots):
        if not found or spot.begin >= found[-1][0].end:
            found.append((spot, boot))
    return found
