"""What all stores of log lines share: windows in slices, the lines of a session, and the proof by numbers.

A store implements `StoreStream.lines`. Where it can count, it implements `StoreStream.counts` too: then of the
processes that serve many sessions only the lines of this one are read, and the count, the lowest, the highest and the
sum of all their numbers prove that none is lost.
"""

import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from itertools import pairwise
from typing import Any, ClassVar, Final, NamedTuple

from cordboard.contract.job_name import job_prefix
from cordboard.contract.record import BOOT, RAW, SERVICE, SESSION_ID, TIMESTAMP, TRACE_ID
from cordboard.logs.coverage import Shortfall
from cordboard.logs.formats.codec import decode, encode
from cordboard.logs.formats.wrappers import number_of, unwrap
from cordboard.logs.query import Query
from cordboard.logs.sources import Source, Stream
from cordboard.logs.timespec import HIGHEST, LOWEST, seconds, shifted
from cordboard.logs.timestamps import own_key, tail_at

NANOSECONDS: Final = 1_000_000_000
# As far as `cordboard.logs.search` looks around a session's own lines.
_MARGIN_S: Final = 2.0
# How far around its place in time a number is looked for before it is missing: the threads of a process may
# number lines in another order than they time them.
_ASTRAY_NS: Final = 60 * NANOSECONDS
# Beside so many gaps the next lines are read, which tell the times; further ones are named without.
_GAPS_TIMED: Final = 20

Runs = dict[bytes, list[tuple[int, int]]]
"""For each process its numbers, first and last of each run."""

Terms = Mapping[str, str]
"""Texts, one of which a line contains, each with the key of Cordboard's format whose value it is; empty for all lines."""


class StoreError(Exception):
    """A store did not answer as asked.

    Args:
        reason: A key of `cordboard.logs.coverage.REASONS`.
        detail: What it said.
        status: The HTTP status, 0 without an answer.
    """

    def __init__(self, reason: str, detail: str, status: int = 0) -> None:
        super().__init__(detail)
        self.shortfall = Shortfall(reason, detail)
        self.status = status


class Slice(NamedTuple):
    """A part of a window, in nanoseconds since 1970.

    Attributes:
        begin: The first nanosecond.
        end: The first nanosecond after it.
    """

    begin: int
    end: int

    def halves(self) -> "tuple[Slice, Slice]":
        """Return its two halves."""
        middle = (self.begin + self.end) // 2
        return Slice(self.begin, middle), Slice(middle, self.end)

    def within(self, other: "Slice") -> "Slice":
        """Return the part that is in another slice; an empty one where none is."""
        begin = min(max(self.begin, other.begin), other.end)
        return Slice(begin, max(begin, min(self.end, other.end)))


class Page(NamedTuple):
    """What a store returned of a slice.

    Attributes:
        lines: The lines, in the order of time.
        whole: Whether these are all of them.
    """

    lines: list[bytes]
    whole: bool


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


def read_slices(
    window: Slice, fetch: Callable[[Slice], Page], shortfalls: list[Shortfall]
) -> Iterator[bytes]:
    """Yield the lines of a window in the order of time.

    A slice that the store does not return whole is halved, so that no cursor is needed, whose lines of one
    moment other clients lose. What cannot be halved, a nanosecond, is named as truncated.

    Args:
        window: What is read.
        fetch: Returns what the store has of a slice.
        shortfalls: Receives what could not be read whole.
    """
    stack = [window]
    while stack:
        part = stack.pop()
        page = fetch(part)
        if page.whole:
            yield from page.lines
        elif part.end - part.begin > 1:
            stack += reversed(part.halves())
        else:
            shortfalls.append(
                Shortfall("truncated", f"more lines at {part.begin} ns than fit in one page")
            )
            yield from page.lines


def nanoseconds(key: bytes) -> int:
    """Return a key of time as nanoseconds since 1970.

    Args:
        key: A timestamp of 27 characters, which is exact to the microsecond.
    """
    return round(seconds(key) * 1_000_000) * 1_000


def moment(nanosecond: int) -> str:
    """Return a time in nanoseconds since 1970 as RFC 3339, to the nanosecond."""
    whole, rest = divmod(nanosecond, NANOSECONDS)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{rest:09d}Z"


def line_of(nanosecond: int, text: str) -> bytes:
    """Return an entry as a line: its text where that is a line of Cordboard's format, else with its time.

    Args:
        nanosecond: Its time, in nanoseconds since 1970.
        text: What was stored.
    """
    raw = text.encode("utf-8", "replace")
    if own_key(raw) is not None and b"\n" not in raw:
        return raw
    return encode({"log": f"{text}\n", "stream": "stdout", "time": moment(nanosecond)})


def quoted(text: str) -> str:
    """Return a text in quotation marks, as the query languages of Loki and VictoriaLogs write it."""
    return encode(text).decode()


class StoreSource(Source):
    """A source whose streams a store returns.

    Args:
        name: What messages call it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._opened: list[Stream] = []

    def opened(self, query: Query) -> "list[StoreStream]":
        """Return the streams of a query; each store has its own."""
        raise NotImplementedError

    def streams(self, query: Query) -> Iterable[Stream]:
        """Return all that the query may concern, once.

        Args:
            query: Its window and its session narrow what is asked for.
        """
        if self._opened:
            return []
        opened = self.opened(query)
        self._opened = [*opened]
        if query.session is not None and not query.follow:
            several = zip(opened, self.opened(query), strict=True)
            self._opened += [JobStream(main, own, query.session) for main, own in several]
        return self._opened

    def close(self) -> None:
        """End what is being read."""
        for stream in self._opened:
            stream.close()


class StoreStream(Stream):
    """What a store has of a query, as a stream of lines in the order of time.

    Args:
        name: What messages call it.
        query: The question.
        lookback_s: How far back a query without ``--since`` reads; 0 for all that there is.
        overlap_s: How far back each request reads while following, in seconds.
        poll_s: The seconds between two requests while following.

    Attributes:
        query: The question.
        closed: Set when the stream is closed.
        near: The time of the session, once it is known; None where the store has no line of it.
    """

    kind = "stream"
    settles: ClassVar[bool] = False
    """Whether lines of the time that is read again while following may be missing from a window, too."""

    def __init__(
        self, name: str, query: Query, *, lookback_s: float, overlap_s: float, poll_s: float
    ) -> None:
        self.name = name
        self.query = query
        self.overlap_s = overlap_s
        self.closed = threading.Event()
        self.near = Future[Slice | None]()
        self._is_read = False
        self._lookback_s = lookback_s
        self._poll_s = poll_s
        self._shortfalls: list[Shortfall] = []
        self._proven: Runs = {}

    # --- of each store

    @abstractmethod
    def lines(self, window: Slice, terms: Terms) -> Iterator[bytes]:
        """Yield the lines of a slice with one of some texts, each with its newline, in the order of time.

        Raises:
            StoreError: The store does not answer as asked.
        """

    def counts(self, window: Slice, boots: Sequence[str]) -> Mapping[str, Count]:  # noqa: ARG002 - each store has its own
        """Return how many lines of some processes the store has in a slice, and their numbers, where it can tell.

        Args:
            window: A slice of whole seconds.
            boots: The processes.

        Raises:
            StoreError: The store does not answer as asked.
        """
        return {}

    def job_lines(self, window: Slice, prefix: str) -> Iterator[bytes]:  # noqa: ARG002 - each store has its own
        """Yield the lines of the pods whose names begin with a text, where the store knows pods.

        Raises:
            StoreError: The store does not answer as asked.
        """
        yield from ()

    def numbers(self, window: Slice, boot: str) -> Iterator[tuple[int, int]]:
        """Yield the number of each line of a process in a slice, and its time in nanoseconds."""
        for line in self.lines(window, {boot: BOOT}):
            text = unwrap(line.rstrip(b"\n")).text
            if (number := number_of(text)) is not None and number[0] == boot.encode():
                yield number[1], nanoseconds(own_key(text) or LOWEST)

    def arrivals(self, window: Slice, terms: Terms) -> Iterator[tuple[Hashable, bytes]]:
        """Yield the same as `lines`, each with what tells it from all others."""
        for line in self.lines(window, terms):
            yield line, line

    # --- the stream

    def read(self, *, follow: bool = False) -> Iterator[bytes]:
        """Yield the lines of the window; following, go on with what arrives."""
        try:
            yield from self.caught(self._followed() if follow else self._settled())
        finally:
            self._tell(None)

    def caught(self, lines: Iterator[bytes]) -> Iterator[bytes]:
        """Yield lines up to an error of the store, which becomes a reason."""
        try:
            yield from lines
        except StoreError as error:
            if not self.closed.is_set():
                self._shortfalls.append(error.shortfall)
        finally:
            self._is_read = True

    def shortfalls(self) -> list[Shortfall]:
        """Return why lines are missing."""
        return self._shortfalls

    def proven(self) -> Runs:
        """Return the numbers that the store has of processes whose lines were not all read."""
        return self._proven

    def close(self) -> None:
        """End a `read`, from another thread; after one that has ended, others may still use the store."""
        self._tell(None)
        if not self._is_read:
            self.interrupt()

    def interrupt(self) -> None:
        """End all requests to the store."""
        self.closed.set()

    def _tell(self, near: Slice | None) -> None:
        with suppress(InvalidStateError):  # the first word counts
            self.near.set_result(near)

    def window(self) -> Slice:
        """Return the query's window."""
        now = time.time_ns()
        end = now + NANOSECONDS if self.query.end == HIGHEST else nanoseconds(self.query.end)
        begin = 0
        if self.query.first > LOWEST:
            begin = max(0, nanoseconds(self.query.first))
        elif self._lookback_s:
            begin = now - int(self._lookback_s * NANOSECONDS)
        return Slice(begin, max(begin, end))

    def _settled(self) -> Iterator[bytes]:
        """Yield the lines of the window; if some may still arrive, that is a reason, too."""
        window = self.window()
        yield from self._window_lines(window)
        age_s = (time.time_ns() - window.end) / NANOSECONDS
        if self.settles and age_s < self.overlap_s:
            detail = f"events arrive up to {self.overlap_s:.0f} s late; read again after that"
            self._shortfalls.append(Shortfall("not_settled", detail))

    def _window_lines(self, window: Slice) -> Iterator[bytes]:
        session = self.query.session
        if session is None:
            yield from self.lines(window, {})
            return
        naming = {session: SESSION_ID}
        before = len(self._shortfalls)
        found = traces_of(self.lines(window, naming), session)
        if found is None:
            yield from self.lines(window, naming)
            return
        del self._shortfalls[before:]  # what cannot be read whole is met again
        near = found.near.within(window)
        self._tell(near)
        terms = {**naming, **dict.fromkeys(found.traces, TRACE_ID)}
        spots = self._prove(near, found, terms)
        yield from self.lines(Slice(window.begin, near.begin), naming)
        for spot, boot in spots:
            yield from self.lines(Slice(near.begin, spot.begin), terms)
            yield from self.lines(spot, {**terms, boot: BOOT})
            near = Slice(spot.end, near.end)
        yield from self.lines(near, terms)
        yield from self.lines(Slice(near.end, window.end), naming)

    def _followed(self) -> Iterator[bytes]:
        """Yield each line that arrives from now on, once.

        Each request reads some time again, as lines arrive late. No store's own way to follow is used: each of
        them loses lines.
        """
        terms = {self.query.session: SESSION_ID} if self.query.session else {}
        began = time.time_ns()
        seen: dict[Hashable, int] = {}
        while not self.closed.wait(self._poll_s):
            now = time.time_ns()
            overlap = int(self.overlap_s * NANOSECONDS)
            begin = max(began, now - overlap)
            for mark, line in self.arrivals(Slice(begin, now + NANOSECONDS), terms):
                if mark not in seen:
                    yield line
                seen[mark] = now
            # A line is forgotten when no later window can return it.
            seen = {mark: at for mark, at in seen.items() if at >= begin - overlap}

    # --- the proof by numbers

    def _prove(
        self, near: Slice, found: "Traces", terms: dict[str, str]
    ) -> list[tuple[Slice, str]]:
        """Learn which numbers the store has of a session's processes; return the places beside gaps.

        Processes that serve this session alone, and those that the store cannot count, are added to the terms:
        all of their lines are read.
        """
        terms |= dict.fromkeys(found.hosts, BOOT)
        told: Mapping[str, Count] = {}
        if found.others and near.begin < near.end:
            with suppress(StoreError):  # a user who may not count may read
                told = self.counts(near, found.others)
        terms |= {boot: BOOT for boot in found.others if boot not in told}
        spots: list[tuple[Slice, str]] = []
        for boot, count in told.items():
            if count.is_proof:
                self._proven[boot.encode()] = [(count.first, count.last)]
            else:
                spots += self._look_for(boot, count, near)
        return _apart(spots, near)

    def _look_for(self, boot: str, count: Count, near: Slice) -> Iterator[tuple[Slice, str]]:
        """Note the numbers that the store has of a process; yield the places of the lines beside its gaps."""
        wide = Slice(max(0, near.begin - _ASTRAY_NS), near.end + _ASTRAY_NS)
        held = {
            number: at
            for number, at in self.numbers(wide, boot)
            if count.first <= number <= count.last
        }
        self._proven[boot.encode()] = runs = _runs(sorted(held))
        for before, after in [*pairwise(runs)][:_GAPS_TIMED]:
            for number in (before[1], after[0]):
                at = held[number] // 1_000_000 * 1_000_000  # some stores have milliseconds
                yield Slice(at, at + 1_000_000), boot


class JobStream(Stream):
    """The lines of a session's cold runners, also those that do not name it.

    The pod of a Job serves one session, and its name follows from the session. It is read when the main stream has
    found out when that was.

    Args:
        main: The stream of the session's lines.
        own: Another stream of the same store, which sends the requests.
        session: The session.
    """

    kind = "container"

    def __init__(self, main: StoreStream, own: StoreStream, session: str) -> None:
        self._prefix = job_prefix(session)
        self.name = f"{main.name}: pods {self._prefix}*"
        self._main = main
        self._own = own

    def read(self, *, follow: bool = False) -> Iterator[bytes]:  # noqa: ARG002 - nothing of it is followed
        """Yield the lines of the session's time."""
        near = self._main.near.result()
        if near is not None and near.begin < near.end:
            yield from self._own.caught(self._own.job_lines(near, self._prefix))

    def shortfalls(self) -> Sequence[Shortfall]:
        """Return why lines are missing."""
        return self._own.shortfalls()

    def close(self) -> None:
        """End a `read`, from another thread."""
        self._own.close()


def _runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Return sorted numbers as runs."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


def _apart(spots: Iterable[tuple[Slice, str]], near: Slice) -> list[tuple[Slice, str]]:
    """Return places within a slice in the order of time, without those that another one covers."""
    found: list[tuple[Slice, str]] = []
    for spot, boot in sorted(spots):
        part = spot.within(near)
        if part.begin < part.end and (not found or part.begin >= found[-1][0].end):
            found.append((part, boot))
    return found


# --- what the lines of a session tell


class Traces(NamedTuple):
    """What the lines that name a session tell of others that belong to it.

    Attributes:
        hosts: Processes of bots, which may serve this session alone.
        others: Its other processes.
        traces: Its traces.
        near: Its time, in whole seconds.
    """

    hosts: list[str]
    others: list[str]
    traces: list[str]
    near: Slice


def traces_of(lines: Iterable[bytes], session: str) -> Traces | None:
    """Return what the lines of a session tell; None where no line of Cordboard's format names it.

    Args:
        lines: Lines that contain the session's id.
        session: The session.
    """
    hosts, boots, traces, keys = set[str](), set[str](), set[str](), list[bytes]()
    for line in lines:
        record = _own_record(line.rstrip(b"\n"))
        if record is None or record.get(SESSION_ID) != session:
            continue
        keys.append(str(record[TIMESTAMP]).encode())
        boots.add(str(record[BOOT]))
        if record.get(SERVICE) == "bot" and record.get(RAW) is not True:
            hosts.add(str(record[BOOT]))
        trace = record.get(TRACE_ID)
        if isinstance(trace, str) and trace.strip("0-"):
            traces.add(trace)
    if not keys:
        return None
    begin = nanoseconds(shifted(min(keys), -_MARGIN_S)) // NANOSECONDS
    end = -(-nanoseconds(shifted(max(keys), _MARGIN_S)) // NANOSECONDS)
    near = Slice(begin * NANOSECONDS, end * NANOSECONDS)
    return Traces(sorted(hosts), sorted(boots - hosts), sorted(traces), near)


def _own_record(line: bytes) -> dict[str, Any] | None:
    text = unwrap(line).text
    if own_key(text) is None or tail_at(text) < 0:
        return None
    try:
        record = decode(text)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and BOOT in record else None
