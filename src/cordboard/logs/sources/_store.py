"""What all stores of log lines share: their windows, the lines of a session, following.

A store implements `StoreSource.lines`. Where it can count, it implements `StoreSource.counts` too: then of the
processes that serve many sessions only the lines of this one are read, and `Proof` tells whether any is lost.
"""

import functools
import re
import threading
import time
from abc import abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import ClassVar, Final

from cordboard.contract.record import BOOT, SESSION_ID, TRACE_ID
from cordboard.logs.coverage import Shortfall
from cordboard.logs.formats.wrappers import number_of, unwrap
from cordboard.logs.query import Query
from cordboard.logs.sources import Source, Stream
from cordboard.logs.sources._bounds import Cut, Delay
from cordboard.logs.sources._proof import Count, Proof, Runs, Traces, traces_of
from cordboard.logs.sources._slices import (
    NANOSECONDS,
    Slice,
    StoreError,
    Terms,
    length_words,
    nanoseconds,
)
from cordboard.logs.sources._store_pods import JobStream, PodStream
from cordboard.logs.timespec import HIGHEST, LOWEST
from cordboard.logs.timestamps import own_key

# Of these services a process may serve one session alone; texts in JSON have their quotation marks escaped.
_OF_ONE_PROCESS: Final = re.compile(rb'service\\*":\\*"(?:bot|runner)\\*"')
# Following, a request that ends like this is repeated: the store may be there again.
_PASSING: Final = ("unreachable", "truncated")
STREAMS_MAX: Final = 3
"""The most streams of a query in each part of a store: the lines, those of the session's Jobs, those of its pods. Each
sends one request after the other, so that no more are in flight."""


class StoreSource(Source):
    """A store: what it returns of a window, and what it counts.

    Args:
        name: What messages call it.
        parts: The names of its streams; empty for one, with the name of the store.
        lookback_s: How far back a query without ``--since`` reads; 0 for all that there is.
        overlap_s: How late lines may arrive, in seconds: so far back each request reads while following, and a window
            that ends later is not settled.
        poll_s: The seconds between two requests while following.

    Attributes:
        counts_delay: Whether a window that ends now is incomplete even if all of its lines are older than the delay.
    """

    counts_delay: ClassVar[bool] = False

    def __init__(
        self,
        name: str,
        parts: Sequence[str] = (),
        *,
        lookback_s: float,
        overlap_s: float,
        poll_s: float,
    ) -> None:
        self.name = name
        self.parts = tuple(parts) or (name,)
        self.lookback_s = lookback_s
        self.overlap_s = overlap_s
        self.poll_s = poll_s
        self._opened: list[Stream] = []
        self._notes: list[str] = []

    @abstractmethod
    def lines(self, window: Slice, terms: Terms, stream: "StoreStream") -> Iterator[bytes]:
        """Yield the lines of a slice with one of some texts, each with its newline, in the order of time.

        Args:
            window: The slice.
            terms: The texts.
            stream: The one that reads; it takes the reasons why lines are missing.

        Raises:
            StoreError: The store does not answer as asked.
        """
        ...

    def counts(
        self,
        window: Slice,  # noqa: ARG002 - each store has its own
        boots: Sequence[str],  # noqa: ARG002
        stream: "StoreStream",  # noqa: ARG002
    ) -> Mapping[str, Count]:
        """Return how many lines of some processes it has, and their numbers, where it can tell.

        Args:
            window: The slice of which all or most is counted.
            boots: The processes.
            stream: The one that asks.

        Raises:
            StoreError: The store does not answer as asked.
        """
        return {}

    def numbers(self, window: Slice, boot: str, stream: "StoreStream") -> Iterator[tuple[int, int]]:
        """Yield number and time, in nanoseconds, of each line of the process `boot` in `window`; `stream` asks."""
        for line in self.lines(window, {boot: BOOT}, stream):
            text = unwrap(line.rstrip(b"\n")).text
            if (number := number_of(text)) is not None and number[0] == boot.encode():
                yield number[1], nanoseconds(own_key(text) or LOWEST)

    @abstractmethod
    def job_lines(self, window: Slice, prefix: str, stream: "StoreStream") -> Iterator[bytes]:
        """Yield the lines in `window` of the pods whose names begin with `prefix`; `stream` asks."""
        ...

    def arrivals(
        self, window: Slice, terms: Terms, stream: "StoreStream"
    ) -> Iterator[tuple[Hashable, bytes]]:
        """Yield what `lines` yields of `window`, `terms` and `stream`, each with what tells it from all others."""
        for line in self.lines(window, terms, stream):
            yield line, line

    def window(self, query: Query) -> Slice:
        """Return the window of `query`; without a beginning, it reaches as far back as the source looks."""
        now = time.time_ns()
        end = now + NANOSECONDS if query.end == HIGHEST else nanoseconds(query.end)
        begin = 0
        if query.first > LOWEST:
            begin = max(0, nanoseconds(query.first))
        elif self.lookback_s:
            begin = now - int(self.lookback_s * NANOSECONDS)
        return Slice(begin, max(begin, end))

    def limits_note(self) -> str:
        """Return a sentence about the limits that the store sets; empty for none.

        Raises:
            StoreError: The store does not answer as asked.
        """
        return ""

    def note_bounds(self, query: Query) -> None:
        """Note how far back `query` is read where it does not say so itself, and the store's limits.

        Raises:
            StoreError: The store does not answer as asked.
        """
        sentences = [self.limits_note()]
        if query.first == LOWEST and self.lookback_s:
            back = length_words(self.lookback_s)
            sentences.insert(0, f"Lines of the last {back} were read; --since reads further back.")
        if note := " ".join(filter(None, sentences)):
            self.note(note)

    def note(self, text: str) -> None:
        """Keep sentences for the coverage, once."""
        if (note := f"{self.name}: {text}") not in self._notes:
            self._notes.append(note)

    def notes(self) -> Sequence[str]:
        """Return how far back was read where the query did not say so, the store's limits, and what may be late."""
        return self._notes

    def cut(self, window: Slice) -> Cut | None:  # noqa: ARG002 - few stores do
        """Return what the store leaves out of `window` without a word, if anything."""
        return None

    def streams(self, query: Query) -> Iterable[Stream]:
        """Return all that the query may concern, once.

        Args:
            query: Its window and its session narrow what is asked for.
        """
        if self._opened:
            return []
        opened = [StoreStream(self, query, part) for part in self.parts]
        self._opened = [*opened]
        if query.session is not None and not query.follow:
            self._opened += [
                kind(main, query.session) for main in opened for kind in (JobStream, PodStream)
            ]
        return self._opened

    def interrupt(self) -> None:
        """End all requests."""
        return

    def close(self) -> None:
        """End what is being read."""
        for stream in self._opened:
            stream.close()


class StoreStream(Stream):
    """What a store has of a query, as a stream of lines in the order of time.

    Args:
        source: The store.
        query: The question.
        name: What messages call it.

    Attributes:
        query: The question.
        overlap_s: How late lines may arrive, in seconds.
        closed: Set when the stream is closed.
        near: The time of the session, once it is known; None where the store has no line of it.
        missing: Why lines are missing.
        outage: Following: why the last request was not answered, if it was not.
        found: What the session's own lines tell; None where there are none.
        pods: The pods whose bots and runners speak of the session.
    """

    kind = "stream"

    def __init__(self, source: StoreSource, query: Query, name: str) -> None:
        self.name = name
        self.source = source
        self.query = query
        self.overlap_s = source.overlap_s
        self.closed = threading.Event()
        self.near = Future[Slice | None]()
        self.missing: list[Shortfall] = []
        self.outage: Shortfall | None = None
        self.pods: set[str] = set()
        self.found: Traces | None = None
        self._is_read = False
        self._proven: Runs = {}

    def read(self, *, follow: bool = False) -> Iterator[bytes]:
        """Yield the lines of the window; with `follow`, those that arrive from now on."""
        try:
            yield from self.caught(self._followed() if follow else self._settled())
        finally:
            self._tell(None)

    def caught(self, lines: Iterator[bytes]) -> Iterator[bytes]:
        """Yield `lines` up to an error of the store, which becomes a reason."""
        try:
            yield from lines
        except StoreError as error:
            if not self.closed.is_set():
                self.missing.append(error.shortfall)
        finally:
            self._is_read = True

    def shortfalls(self) -> list[Shortfall]:
        """Return why lines are missing."""
        return self.missing if self.outage is None else [*self.missing, self.outage]

    def proven(self) -> Runs:
        """Return the numbers that the store has of processes whose lines were not all read."""
        return self._proven

    def close(self) -> None:
        """End a `read`, from another thread; after one that has ended, others may still use the store."""
        self._tell(None)
        if not self._is_read:
            self.closed.set()
            self.source.interrupt()

    def note_pod(self, pod: str, line: bytes) -> None:
        """Note the `pod` of `line`, if it is a bot's or a runner's, while the session is looked for."""
        if pod and not self.near.done() and _OF_ONE_PROCESS.search(line) is not None:
            self.pods.add(pod)

    def twin(self) -> "StoreStream":
        """Return another stream of the same query."""
        return StoreStream(self.source, self.query, self.name)

    def job_lines(self, window: Slice, prefix: str) -> Iterator[bytes]:
        """Yield the lines in `window` of the pods whose names begin with `prefix`."""
        return self.source.job_lines(window, prefix, self)

    def _tell(self, near: Slice | None) -> None:
        with suppress(InvalidStateError):  # the first word counts
            self.near.set_result(near)

    def _settled(self) -> Iterator[bytes]:
        """Yield the lines of the window; if some may still arrive, that is a reason, too."""
        window = self.source.window(self.query)
        self.source.note_bounds(self.query)
        cut = self.source.cut(window)
        if cut is not None:
            self.missing.append(cut.why)
        last = b""
        for last in self._window_lines(window):
            yield last
        if cut is not None and cut.spares(self.query, self.found):
            self.missing.remove(cut.why)
            self.source.note(f"{cut.why.detail}.")
        delay = Delay(self.overlap_s, self.source.counts_delay)
        why = delay.reason(self.query, window, self.found, last)
        if isinstance(why, Shortfall):
            self.missing.append(why)
        elif why is not None:
            self.source.note(why)

    def _window_lines(self, window: Slice) -> Iterator[bytes]:
        session = self.query.session
        if session is None:
            yield from self.source.lines(window, {}, self)
            return
        naming = {session: SESSION_ID}
        before = len(self.missing)
        found = traces_of(self.source.lines(window, naming, self), session)
        if found is None:
            yield from self.source.lines(window, naming, self)
            return
        self.found = found
        del self.missing[before:]  # what cannot be read whole is met again
        near = found.near.within(window)
        self._tell(near)
        proof = Proof(
            functools.partial(self.source.counts, stream=self),
            functools.partial(self.source.numbers, stream=self),
            found,
            near,
        )
        self._proven = proof.numbers
        terms = {
            **naming,
            **dict.fromkeys(found.traces, TRACE_ID),
            **dict.fromkeys(proof.whole, BOOT),
        }
        before_near, after_near = Slice(window.begin, near.begin), Slice(near.end, window.end)
        yield from self._with_spots(before_near, naming, proof.spots)
        yield from proof.watched(self._with_spots(near, terms, proof.spots))
        if len(self.missing) == before:
            self.missing += proof.not_returned()
        yield from self._with_spots(after_near, naming, proof.spots)

    def _with_spots(
        self, part: Slice, terms: Terms, spots: Iterable[tuple[Slice, str]]
    ) -> Iterator[bytes]:
        """Yield the lines of a slice; at some places those of a process as well, which tell when a gap was."""
        begin = part.begin
        for place, boot in spots:
            spot = place.within(part)
            if begin <= spot.begin < spot.end:
                yield from self.source.lines(Slice(begin, spot.begin), terms, self)
                yield from self.source.lines(spot, {**terms, boot: BOOT}, self)
                begin = spot.end
        yield from self.source.lines(Slice(begin, part.end), terms, self)

    def _followed(self) -> Iterator[bytes]:
        """Yield each line that arrives from now on, once.

        Each request reads some time again, as lines arrive late, and after an outage all since the last answer. No
        store's own way to follow is used: each of them loses lines.
        """
        terms = {self.query.session: SESSION_ID} if self.query.session else {}
        read_to = began = time.time_ns()
        seen: dict[Hashable, int] = {}
        while not self.closed.wait(self.source.poll_s):
            now = time.time_ns()
            overlap = int(self.overlap_s * NANOSECONDS)
            begin = max(began, read_to - overlap)
            try:
                for mark, line in self.source.arrivals(
                    Slice(begin, now + NANOSECONDS), terms, self
                ):
                    if mark not in seen:
                        yield line
                    seen[mark] = now
            except StoreError as error:
                if error.shortfall.reason not in _PASSING or self.closed.is_set():
                    raise
                self.outage = error.shortfall
                continue
            self.outage, read_to = None, now
            # A line is forgotten when no later window can return it.
            seen = {mark: at for mark, at in seen.items() if at >= begin - overlap}
