"""What all stores of log lines share: their windows, the lines of a session, following.

A store implements `StoreSource.lines`. Where it can count, it implements `StoreSource.counts` too: then of the
processes that serve many sessions only the lines of this one are read, and `Proof` tells whether any is lost.
"""

import time
from abc import abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from cordboard.contract.record import BOOT
from cordboard.logs.coverage import Shortfall
from cordboard.logs.formats.wrappers import number_of, unwrap
from cordboard.logs.query import Query
from cordboard.logs.sources import Source, Stream
from cordboard.logs.sources._proof import Count
from cordboard.logs.sources._slices import NANOSECONDS, Slice, Terms, length_words, nanoseconds
from cordboard.logs.sources._store_streams import JobStream, PodStream, StoreStream
from cordboard.logs.timespec import HIGHEST, LOWEST
from cordboard.logs.timestamps import own_key

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
    """

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
    def lines(self, window: Slice, terms: Terms, stream: StoreStream) -> Iterator[bytes]:
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
        stream: StoreStream,  # noqa: ARG002
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

    def numbers(self, window: Slice, boot: str, stream: StoreStream) -> Iterator[tuple[int, int]]:
        """Yield number and time, in nanoseconds, of each line of the process `boot` in `window`; `stream` asks."""
        for line in self.lines(window, {boot: BOOT}, stream):
            text = unwrap(line.rstrip(b"\n")).text
            if (number := number_of(text)) is not None and number[0] == boot.encode():
                yield number[1], nanoseconds(own_key(text) or LOWEST)

    @abstractmethod
    def job_lines(self, window: Slice, prefix: str, stream: StoreStream) -> Iterator[bytes]:
        """Yield the lines in `window` of the pods whose names begin with `prefix`; `stream` asks."""
        ...

    def arrivals(
        self, window: Slice, terms: Terms, stream: StoreStream
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
        note = " ".join(filter(None, sentences))
        if note and (note := f"{self.name}: {note}") not in self._notes:
            self._notes.append(note)

    def notes(self) -> Sequence[str]:
        """Return how far back was read where the query did not say so, and the store's limits."""
        return self._notes

    def left_out(self, window: Slice, query: Query) -> Iterator[Shortfall]:  # noqa: ARG002 - few stores do
        """Yield what the store leaves out of `window`, that of `query`, without a word."""
        yield from ()

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
