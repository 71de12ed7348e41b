"""The queue before a file descriptor: any thread puts lines into it, none waits for the reader.

A thread, started by the first line, writes what has gathered every 20 ms; a burst is written by the
caller itself as long as the descriptor takes it at once; a line at ``error`` is written before the
call returns. When the reader stalls the queue fills; the caller then waits, once per stall, for at
most 100 ms; after that lines are dropped, counted, and the count is logged.
"""

import _thread
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import monotonic, sleep
from typing import Final

from cordboard.emit.descriptor_writer import Descriptor

FLUSH_INTERVAL_S: Final = 0.02
"""Half of the loss bound of 50 ms, and some for a busy machine."""

BURST_LINES: Final = 128
QUEUE_LINES_MAX: Final = 8192
FULL_WAIT_S: Final = 0.1
URGENT_WAIT_S: Final = 0.25
THREAD_WAIT_S: Final = 1.0
SHUTDOWN_WAIT_S: Final = 2.0
FORK_WAIT_S: Final = 0.25
_BATCH_BYTES: Final = 49152  # fits into an empty pipe at once
_YIELD_S: Final = 0.001


class Output:
    """A bounded queue of lines, and the thread that empties it."""

    def __init__(self, fd: int, tell_dropped: Callable[[int], None]) -> None:
        self.threaded = True
        self._descriptor = Descriptor(fd)
        self._tell_dropped = tell_dropped
        self._begin()

    def _begin(self) -> None:
        self._lines: deque[bytes] = deque()
        self._lock = _thread.allocate_lock()
        self._wake = _locked()
        self._hurry = _locked()
        self._armed = False
        self._has_thread = False
        self._stop = False
        self._stalled = False
        self._overflowed = 0
        self._told = 0

    def after_fork(self) -> None:
        """Begin anew in a child: the parent's lines are the parent's, and so is its thread."""
        self._descriptor.after_fork()
        self._begin()

    @property
    def dropped(self) -> int:
        """How many lines found no room or no reader."""
        return self._overflowed + self._descriptor.lost

    def put(self, line: bytes) -> None:
        """Queue one line, with its newline."""
        lines = self._lines
        lines.append(line)
        if not self._armed:
            self._arm()
        if not len(lines) % BURST_LINES:
            self._relieve()

    def put_now(self, line: bytes) -> None:
        """Queue one line and write it, and all before it, before returning."""
        self._lines.append(line)
        if self._stalled or not self.flush(URGENT_WAIT_S):
            self._stalled = True
            self._arm()
            self._drop_above(2 * QUEUE_LINES_MAX)

    def flush(self, timeout_s: float = SHUTDOWN_WAIT_S) -> bool:
        """Write all that is queued; False when the reader did not take it in time."""
        deadline = monotonic() + timeout_s
        while self._pending():
            if not self._some(deadline):
                return False
        return True

    def quiesce(self, timeout_s: float = SHUTDOWN_WAIT_S) -> None:
        """Write all that is queued and end the thread, so that the process can be forked."""
        self.flush(timeout_s)
        if not self._has_thread:
            return
        self._stop = True
        _release(self._hurry)
        _release(self._wake)
        deadline = monotonic() + timeout_s
        while self._has_thread and monotonic() < deadline:
            sleep(_YIELD_S / 4)
        # It may have ended without taking the last call for it; the next line must start another.
        self._armed = self._has_thread

    def resume(self) -> None:
        """Go on with what ``quiesce`` could not write in time."""
        if self._pending():
            self._arm()

    def _pending(self) -> bool:
        return bool(self._lines or self._descriptor.rest)

    def _arm(self) -> None:
        self._armed = True
        if not self.threaded:
            self.flush(FULL_WAIT_S)
            self._armed = False
            return
        if not self._has_thread:
            self._start_thread()
        _release(self._wake)

    def _start_thread(self) -> None:
        self._has_thread, self._stop = True, False
        try:
            _thread.start_new_thread(self._run, ())
        except RuntimeError:  # no more threads, or the interpreter is ending
            self._has_thread = self.threaded = False
            self.flush(FULL_WAIT_S)

    def _run(self) -> None:
        while not self._stop:
            self._wake.acquire()
            self._hurry.acquire(timeout=0 if self._stop else FLUSH_INTERVAL_S)
            self._armed = False
            with suppress(Exception):  # this thread must live
                self._empty()
        self._has_thread = False

    def _empty(self) -> None:
        """Write batch by batch; in a burst let the caller have the lock: it needs no switch."""
        while self._pending() and not self._stop:
            self._some(monotonic() + THREAD_WAIT_S)
            if len(self._lines) >= BURST_LINES:
                sleep(_YIELD_S)

    def _relieve(self) -> None:
        """A burst: write what the descriptor takes at once; when the queue is full wait, or drop."""
        while self._lines and self._some(0.0):
            pass
        if len(self._lines) >= QUEUE_LINES_MAX:
            self._make_room()

    def _make_room(self) -> None:
        deadline = monotonic() + FULL_WAIT_S
        while not self._stalled and len(self._lines) > QUEUE_LINES_MAX // 2:
            if not self._some(deadline) and monotonic() >= deadline:
                self._stalled = True
        self._drop_above(QUEUE_LINES_MAX)

    def _drop_above(self, bound: int) -> None:
        while len(self._lines) > bound:
            with suppress(IndexError):
                self._lines.pop()
                self._overflowed += 1

    def _some(self, deadline: float) -> bool:
        """Write one batch; False when the descriptor, or the lock, could not be had in time."""
        wait_s = max(0.0, deadline - monotonic()) if deadline else 0.0
        if not self._lock.acquire(timeout=wait_s):
            return False
        try:
            done = self._descriptor.write(self._gather, deadline)
        finally:
            self._lock.release()
        if done:
            self._stalled = False
            if self.dropped > self._told and not self._descriptor.broken:
                self._report()
        return done

    def _report(self) -> None:
        count, self._told = self.dropped - self._told, self.dropped
        self._tell_dropped(count)

    def _gather(self) -> bytes:
        size, batch, lines = 0, [], self._lines
        try:
            while size < _BATCH_BYTES:
                line = lines.popleft()
                batch.append(line)
                size += len(line)
        except IndexError:
            pass
        return b"".join(batch)


def _locked() -> "_thread.LockType":
    lock = _thread.allocate_lock()
    lock.acquire()
    return lock


def _release(lock: "_thread.LockType") -> None:
    with suppress(RuntimeError):  # released already, by another thread
        lock.release()
