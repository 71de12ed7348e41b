"""The streams of a store: the lines of a window or of a session, those of its pods, and what arrives."""

import functools
import re
import threading
import time
from collections.abc import Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from cordboard.contract.job_name import job_prefix
from cordboard.contract.record import BOOT, SERVER_PREFIX, SESSION_ID, TRACE_ID
from cordboard.logs.coverage import MAY_ARRIVE, Shortfall
from cordboard.logs.formats.wrappers import unwrap
from cordboard.logs.query import Query
from cordboard.logs.sources import Stream
from cordboard.logs.sources._proof import Proof, Runs, traces_of
from cordboard.logs.sources._slices import NANOSECONDS, Slice, StoreError, Terms
from cordboard.logs.timespec import LOWEST
from cordboard.logs.timestamps import own_key

if TYPE_CHECKING:
    from cordboard.logs.sources._store import StoreSource

# Of these services a process may serve one session alone; texts in JSON have their quotation marks escaped.
_OF_ONE_PROCESS: Final = re.compile(rb'service\\*":\\*"(?:bot|runner)\\*"')
_SESSION: Final = re.compile(rb'(?:sessionId|session_id)\\*":\s*\\*"([^"\\]+)')
# Following, a request that ends like this is repeated: the store may be there again.
_PASSING: Final = ("unreachable", "truncated")
# What is kept of the pods of a session; a pod that says more in that time is no bot's.
_PODS_BYTES_MAX: Final = 8 << 20
_PODS_MAX: Final = 16


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
        over_at: The time of the session's last line, in nanoseconds, if its end was logged.
        pods: The pods whose bots and runners speak of the session.
    """

    kind = "stream"

    def __init__(self, source: "StoreSource", query: Query, name: str) -> None:
        self.name = name
        self.source = source
        self.query = query
        self.overlap_s = source.overlap_s
        self.closed = threading.Event()
        self.near = Future[Slice | None]()
        self.missing: list[Shortfall] = []
        self.outage: Shortfall | None = None
        self.pods: set[str] = set()
        self.over_at: int | None = None
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

    def _tell(self, near: Slice | None) -> None:
        with suppress(InvalidStateError):  # the first word counts
            self.near.set_result(near)

    def _settled(self) -> Iterator[bytes]:
        """Yield the lines of the window; if some may still arrive, that is a reason, too."""
        window = self.source.window(self.query)
        self.source.note_bounds(self.query)
        self.missing += self.source.left_out(window, self.query)
        yield from self._window_lines(window)
        last = window.end if self.over_at is None else min(window.end, self.over_at)
        if time.time_ns() - last < self.overlap_s * NANOSECONDS:
            detail = f"{MAY_ARRIVE} {self.overlap_s:.0f} s late; read again after that"
            self.missing.append(Shortfall("not_settled", detail))

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
        self.over_at = found.span.end if found.is_over else None
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


class JobStream(Stream):
    """The lines of a session's cold runners, also those that do not name it.

    The pod of a Job serves one session, and its name follows from the session. It is read when the main stream has
    found out when that was.

    Args:
        main: The stream of the session's lines.
        session: The session.
    """

    kind = "job"

    def __init__(self, main: StoreStream, session: str) -> None:
        self._prefix = job_prefix(session)
        self.name = f"{main.name}: pods {self._prefix}*"
        self._main = main
        self._own = StoreStream(main.source, main.query, main.name)

    def read(self, *, follow: bool = False) -> Iterator[bytes]:  # noqa: ARG002 - nothing of it is followed
        """Yield the lines of the session's time."""
        near = self._main.near.result()
        is_known = near is not None and near.begin < near.end
        yield from self._own.caught(self._lines(near) if near and is_known else iter(()))

    def _lines(self, near: Slice) -> Iterator[bytes]:
        return self._own.source.job_lines(near, self._prefix, self._own)

    def shortfalls(self) -> Sequence[Shortfall]:
        """Return why lines are missing."""
        return self._own.shortfalls()

    def close(self) -> None:
        """End a `read`, from another thread."""
        self._own.close()


class PodStream(JobStream):
    """The lines of other pods whose bots or runners speak of a session, and of no other one in its time."""

    def __init__(self, main: StoreStream, session: str) -> None:
        super().__init__(main, session)
        self.name = f"{main.name}: pods of the session"
        self._session = session.encode()

    def _lines(self, near: Slice) -> Iterator[bytes]:
        found: list[bytes] = []
        pods = [pod for pod in sorted(self._main.pods) if not pod.startswith(self._prefix)]
        for pod in pods[:_PODS_MAX]:
            lines = self._own.source.job_lines(near, pod, self._own)
            found += self._alone(lines, _PODS_BYTES_MAX - sum(map(len, found)))
        found.sort(key=_time_of)
        yield from found

    def _alone(self, lines: Iterator[bytes], most: int) -> list[bytes]:
        """Return lines; nothing where one names another session, or they are too many."""
        kept: list[bytes] = []
        for line in lines:
            most -= len(line)
            named = set(_SESSION.findall(line)) - {self._session}
            if most < 0 or any(not name.startswith(SERVER_PREFIX.encode()) for name in named):
                return []
            kept.append(line)
        return kept


def _time_of(line: bytes) -> bytes:
    inner = unwrap(line.rstrip(b"\n"))
    return own_key(inner.text) or inner.key or LOWEST
