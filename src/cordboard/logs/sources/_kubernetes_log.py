"""The log of one run of a container, to its end: opened again when a connection breaks."""

import asyncio
import contextlib
import random
import re
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import datetime, timedelta
from typing import Final

from cordboard.contract.errors import (
    ClusterForbiddenError,
    ClusterUnavailableError,
    CordboardError,
    NotFoundError,
)
from cordboard.kube import Kube
from cordboard.logs.coverage import Shortfall
from cordboard.logs.formats.wrappers import number_of
from cordboard.logs.sources._containers import Run, runs

TRIES: Final = 5  # at one place of a log that is not followed
PAUSE_FIRST_S: Final = 0.2
PAUSE_MAX_S: Final = 10.0
AT_ONCE_FIRST: Final = 16
PROBES_AT_ONCE: Final = 4
"""Requests for the first line of a log, beside those for the logs that `logs.tracks` reads at once: 20 in all."""
SETTLED_S: Final = 2.0
"""A pod's status tells of the end of a run so much later than its log does."""
LATE_S: Final = 10
"""A line may reach the node's log so much later than its record says."""
_PROBE_BYTES: Final = 64 * 1024
_SECOND: Final = len("2026-11-23T10:11:12")

# What a kubelet writes in place of a log, with status 200, when the file has gone.
_NO_LOG: Final = (
    b"unable to retrieve container logs for ",
    b"failed to try resolving symlinks in path ",
)


class Pace:
    """How many logs are opened at once: as many as the API bears, found out as TCP does.

    One more with each that went well, half as many when the API says that it is too much. Only the
    opening counts: how long a log then stays open is for its reader to say.

    Attributes:
        probes: Is held by a request for the first line of a log that is open.
    """

    def __init__(self) -> None:
        self.probes = asyncio.Semaphore(PROBES_AT_ONCE)
        self._allowed = float(AT_ONCE_FIRST)
        self._open = 0
        self._changed = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and keep it inside the block."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._open < self._allowed)
            self._open += 1
        try:
            yield
            self._allowed += 1
        except ClusterUnavailableError:
            self._allowed = max(1.0, self._allowed / 2)
            raise
        finally:
            self._open -= 1
            async with self._changed:
                self._changed.notify_all()


class Log:
    """What one run said within a window.

    Args:
        kube: The cluster.
        pace: Shared by all logs of the cluster.
        run: The run.
        since: From when, as a timestamp of the contract.
        until: Up to when.
    """

    def __init__(
        self, kube: Kube, pace: Pace, run: Run, since: str | None, until: str | None
    ) -> None:
        self.run = run
        self.shortfalls: list[Shortfall] = []
        self._kube = kube
        self._pace = pace
        self._since = since[:_SECOND] if since else ""
        self._enough = _later(until) if until else b""
        self._place = Place()
        started = (run.started or "")[:_SECOND]
        if run.missing and (not started or self._since < started):
            self.shortfalls.append(run.missing)
        self._whole = bool(started) and self._since <= started

    async def chunks(self, *, follow: bool) -> AsyncGenerator[bytes]:
        """Yield whole lines behind their timestamps, each once.

        A broken connection is opened anew where it broke. With `follow`, it goes on until the run is
        over, however long the API is away.
        """
        tries, pause_s = 0, PAUSE_FIRST_S
        while True:
            try:
                async with contextlib.aclosing(self._opened(follow)) as opened:
                    async for lines in opened:
                        tries, pause_s = 0, PAUSE_FIRST_S
                        yield lines
                        if self._is_past():
                            return
                if not (follow and await self._goes_on()):
                    return
            except ClusterUnavailableError as error:
                tries += 1
                if tries >= TRIES and not follow:
                    self._lack(error)
                    return
                pause_s = max(pause_s, error.retry_after_s or 0)
            except CordboardError as error:
                self._lack(error)
                return
            await asyncio.sleep(pause_s * random.uniform(0.75, 1.25))  # noqa: S311
            pause_s = min(pause_s * 2, PAUSE_MAX_S)

    async def _opened(self, follow: bool) -> AsyncGenerator[bytes]:
        new = not self._place.second
        since = self._place.since or (f"{self._since}Z" if self._since else None)
        async with contextlib.AsyncExitStack() as stack:
            async with self._pace.turn():
                log = self._log(sinceTime=since, follow="true" if follow else None)
                lines = _whole_lines(await stack.enter_async_context(log))
                await stack.enter_async_context(contextlib.aclosing(lines))
                if not follow:  # following, the first line may be hours away
                    ready = await anext(lines, b"")
            if follow:
                ready = await anext(lines, b"")
            if ready:
                await self._begin(ready, new=new)
            while ready:
                ready = self._place.after(ready)
                if ready:
                    self._place.note(ready)
                    yield ready
                ready = await anext(lines, b"")

    def _log(
        self, **params: str | None
    ) -> contextlib.AbstractAsyncContextManager[AsyncIterator[bytes]]:
        run = self.run
        previous = "true" if run.previous else None
        return self._kube.log(
            run.namespace, run.pod, run.container, timestamps="true", previous=previous, **params
        )

    async def _begin(self, lines: bytes, *, new: bool) -> None:
        """Look at the first lines of a connection."""
        if lines.startswith(_NO_LOG):
            raise NotFoundError(lines.partition(b"\n")[0].decode(errors="replace"))
        if new:
            await self._look_for_rotation(lines.partition(b"\n")[0])
        else:
            self._place.resume(lines)

    async def _look_for_rotation(self, line: bytes) -> None:
        """A file that begins with a later number than 1 was not always the first."""
        numbered = number_of(line)
        if numbered is None or numbered[1] == 1 or line[:_SECOND].decode() <= self._since:
            return
        if self._whole or line == await self._first_line():
            boot, seq = numbered
            detail = f"first line: seq {seq} of boot {boot.decode()}"
            self.shortfalls.append(Shortfall("rotated", detail))

    async def _first_line(self) -> bytes:
        async with self._pace.probes, self._log(limitBytes=str(_PROBE_BYTES)) as chunks:
            start = b""
            async for chunk in chunks:
                start += chunk
                if b"\n" in start:
                    break
            return start.partition(b"\n")[0]

    def _is_past(self) -> bool:
        place = self._place
        return bool(self._enough) and place.zone == b"Z" and place.second > self._enough

    async def _goes_on(self) -> bool:
        """Say whether the run goes on, though its log has ended: a node's service restarted."""
        await asyncio.sleep(SETTLED_S)
        pod = await self._kube.get("Pod", self.run.pod, self.run.namespace)
        return any(run.key == self.run.key and run.running for run in runs(pod))

    def _lack(self, error: CordboardError) -> None:
        self.shortfalls.append(Shortfall(_reason(error), error.message))


class Place:
    """How far a log has been given, so that a new connection goes on there.

    The API goes by whole seconds. Noted are the lines given of the newest second: a connection that
    starts at that second brings them again, in the same order, unless they were rotated away.
    """

    def __init__(self) -> None:
        self.second = b""
        self.zone = b"Z"
        self._given = 0
        self._skip = 0
        self._first = b""

    @property
    def since(self) -> str | None:
        """From when a new connection is to start."""
        return (self.second + self.zone).decode() if self.second else None

    def note(self, lines: bytes) -> None:
        """Remember that `lines`, which are whole, were given."""
        last = lines[lines.rfind(b"\n", 0, len(lines) - 1) + 1 :]
        second = last[:_SECOND]
        if second > self.second or not self._first:
            self.second, self._given = second, 0
            start = 0 if lines.startswith(second) else lines.find(b"\n" + second) + 1
            self._first = lines[start : lines.find(b"\n", start)]
            stamp = last.partition(b" ")[0]
            self.zone = re.sub(rb"^\.\d+", b"", stamp[_SECOND:]) or b"Z"
        self._given += lines.startswith(self.second) + lines.count(b"\n" + self.second)

    def resume(self, lines: bytes) -> None:
        """Note that a new connection begins with `lines`. What comes twice is no harm, a loss would be."""
        if lines[: lines.find(b"\n")] == self._first:
            self._skip = self._given
        else:
            self._first, self._given = b"", 0

    def after(self, lines: bytes) -> bytes:
        """Return `lines` without those that were given already."""
        while self._skip and lines:
            _, _, lines = lines.partition(b"\n")
            self._skip -= 1
        return lines


async def _whole_lines(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Hold back what is no whole line yet; the last one of a log may have no newline."""
    rest = b""
    async for chunk in chunks:
        head, newline, tail = chunk.rpartition(b"\n")
        if newline:
            yield rest + head + newline
            rest = tail
        else:
            rest += chunk
    if rest:
        yield rest + b"\n"


def _later(until: str) -> bytes:
    moment = datetime.fromisoformat(until[:_SECOND]) + timedelta(seconds=LATE_S)
    return moment.isoformat().encode()


def _reason(error: CordboardError) -> str:
    """Return the word of the coverage for an error of the API."""
    words = error.message
    if isinstance(error, ClusterForbiddenError):
        return "forbidden"
    if isinstance(error, NotFoundError) or "no such file" in words:
        return "gone"
    if isinstance(error, ClusterUnavailableError):
        return "unreachable"
    if "waiting to start" in words:
        return "never_started"
    return "gone" if "not found" in words else "unreadable"
