"""The lines of a session's pods in a store, also those that do not name it."""

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Final, Protocol, Self

from cordboard.contract.job_name import job_prefix
from cordboard.contract.record import SERVER_PREFIX
from cordboard.logs.coverage import Shortfall
from cordboard.logs.formats.wrappers import unwrap
from cordboard.logs.sources import Stream
from cordboard.logs.sources._slices import Slice
from cordboard.logs.timespec import LOWEST
from cordboard.logs.timestamps import own_key

_SESSION: Final = re.compile(rb'(?:sessionId|session_id)\\*":\s*\\*"([^"\\]+)')
# What is kept of the pods of a session; a pod that says more in that time is no bot's.
_PODS_BYTES_MAX: Final = 8 << 20
_PODS_MAX: Final = 16


class MainStream(Protocol):
    """The stream of a session's lines.

    Attributes:
        name: What messages call it.
        near: The time of the session, once it is known; None where the store has no line of it.
        pods: The pods whose bots and runners speak of the session.
    """

    name: str
    near: Future[Slice | None]
    pods: set[str]

    def twin(self) -> Self:
        """Return another stream of the same query."""
        ...

    def job_lines(self, window: Slice, prefix: str) -> Iterator[bytes]:
        """Yield the lines in `window` of the pods whose names begin with `prefix`."""
        ...

    def caught(self, lines: Iterator[bytes]) -> Iterator[bytes]:
        """Yield `lines` up to an error of the store, which becomes a reason."""
        ...

    def shortfalls(self) -> Sequence[Shortfall]:
        """Return why lines are missing."""
        ...

    def close(self) -> None:
        """End a `read`, from another thread."""
        ...


class JobStream(Stream):
    """The lines of a session's cold runners, also those that do not name it.

    The pod of a Job serves one session, and its name follows from the session. It is read when the main stream has
    found out when that was.

    Args:
        main: The stream of the session's lines.
        session: The session.
    """

    kind = "job"

    def __init__(self, main: MainStream, session: str) -> None:
        self._prefix = job_prefix(session)
        self.name = f"{main.name}: pods {self._prefix}*"
        self._main = main
        self._own = main.twin()

    def read(self, *, follow: bool = False) -> Iterator[bytes]:  # noqa: ARG002 - nothing of it is followed
        """Yield the lines of the session's time."""
        near = self._main.near.result()
        is_known = near is not None and near.begin < near.end
        yield from self._own.caught(self._lines(near) if near and is_known else iter(()))

    def _lines(self, near: Slice) -> Iterator[bytes]:
        return self._own.job_lines(near, self._prefix)

    def shortfalls(self) -> Sequence[Shortfall]:
        """Return why lines are missing."""
        return self._own.shortfalls()

    def close(self) -> None:
        """End a `read`, from another thread."""
        self._own.close()


class PodStream(JobStream):
    """The lines of other pods whose bots or runners speak of a session, and of no other one in its time."""

    def __init__(self, main: MainStream, session: str) -> None:
        super().__init__(main, session)
        self.name = f"{main.name}: pods of the session"
        self._session = session.encode()

    def _lines(self, near: Slice) -> Iterator[bytes]:
        found: list[bytes] = []
        pods = [pod for pod in sorted(self._main.pods) if not pod.startswith(self._prefix)]
        for pod in pods[:_PODS_MAX]:
            lines = self._own.job_lines(near, pod)
            found += self._alone(lines, _PODS_BYTES_MAX - sum(map(len, found)))
        found.sort(key=time_of)
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


def time_of(line: bytes) -> bytes:
    """Return the key of a line's time; the lowest one where it has none."""
    inner = unwrap(line.rstrip(b"\n"))
    return own_key(inner.text) or inner.key or LOWEST
