"""The queue before a file descriptor: any thread puts lines into it, and none waits for the reader.

A thread, which the first line starts, writes what has gathered every 20 ms. In a burst the caller
writes, as long as the descriptor takes everything at once. A line at level ``error`` is written
before the call returns. If the reader stalls, the queue fills; the caller then waits, once per
stall, for at most 100 ms. After that lines are dropped and counted, and the count is logged.
"""

import _thread
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import monotonic, sleep
from typing import Final

from cordboard.emit.descriptor_writer import DescriptorWriter

# How long a line may wait for others: less than half of the 50 ms of lines that a killed process
# may lose, as a busy machine delays the thread. ``benchmarks/emit/bench_loss.py`` measures the loss.
FLUSH_INTERVAL_S: Final = 0.02

# After so many lines the caller writes itself. Fewer make more system calls per line; more let the
# queue grow while the thread waits for the interpreter's lock.
BURST_LINES: Final = 128
# Lines that wait for a slow reader, 2 MB of usual lines and 128 MB of the longest.
QUEUE_LINES_MAX: Final = 8192
# How long one call waits when the queue is full. An event loop stands still for as long.
FULL_WAIT_S: Final = 0.1
# How long a call at ``error`` waits for a reader that has stalled: its line is worth more.
URGENT_WAIT_S: Final = 0.25
# How long the thread waits for the descriptor before it looks whether it is to stop.
THREAD_WAIT_S: Final = 1.0
# How long the end of a process waits for the reader, well below any grace period.
SHUTDOWN_WAIT_S: Final = 2.0
# How long a fork waits for the reader; what is left is written by the parent afterwards.
FORK_WAIT_S: Final = 0.25
# A batch that an empty pipe of 64 KiB takes at once; see ``descriptor_writer``.
_BATCH_BYTES: Final = 49152
# How long the thread leaves the descriptor's lock to a caller in a burst.
_YIELD_S: Final = 0.001


class Output:
    """A bounded queue of lines, and the thread that empties it.

    Args:
        fd: The file descriptor.
        log_dropped: Called with the number of lines that were dropped, once the reader is back.

    Attributes:
        threaded: Whether a thread writes; otherwise each caller does.
    """

    def __init__(self, fd: int, log_dropped: Callable[[int], None]) -> None:
        self.threaded = True
        self._descriptor = DescriptorWriter(fd)
        self._log_dropped = log_dropped
        self._reset()

    def _reset(self) -> None:
        self._lines: deque[bytes] = deque()
        # Locks of _thread, not threading.Event: setting an Event runs Python code under a lock.
        self._lock = _thread.allocate_lock()  # held while writing
        self._wake = _locked()  # released when lines are queued
        self._hurry = _locked()  # released to end the wait for further lines
        self._armed = False  # whether the thread will look at the queue
        self._has_thread = False
        self._stop = False
        self._stalled = False  # whether a caller has waited in vain
        self._overflowed = 0
        self._reported = 0

    def after_fork(self) -> None:
        """Start empty in a child process: the parent writes its own lines, and has the thread."""
        self._descriptor.after_fork()
        self._reset()

    @property
    def fd(self) -> int:
        """The file descriptor."""
        return self._descriptor.fd

    @property
    def dropped(self) -> int:
        """How many lines were dropped since the start."""
        return self._overflowed + self._descriptor.lost

    @property
    def has_unwritten(self) -> bool:
        """Whether anything is queued or partly written."""
        return bool(self._lines or self._descriptor.rest)

    def put(self, line: bytes) -> None:
        """Queue `line`, which ends with a newline."""
        lines = self._lines
        lines.append(line)
        if not self._armed:
            self._arm()
        if not len(lines) % BURST_LINES:
            self._relieve()

    def put_now(self, line: bytes) -> None:
        """Queue `line`, and write it and all before it before returning."""
        self._lines.append(line)
        if self._stalled or not self.flush(URGENT_WAIT_S):
            self._stalled = True
            self._arm()
            # Errors have as much room again, so that a stall full of other lines keeps them.
            self._drop_above(2 * QUEUE_LINES_MAX)

    def flush(self, timeout_s: float = SHUTDOWN_WAIT_S) -> bool:
        """Write all that is queued; return whether the reader took it within `timeout_s` seconds."""
        deadline = monotonic() + timeout_s
        while self.has_unwritten:
            if not self._write_batch(deadline):
                return False
        return True

    def quiesce(self, timeout_s: float = SHUTDOWN_WAIT_S) -> None:
        """Write all that is queued and end the thread, so that the process can be forked.

        Args:
            timeout_s: How many seconds to wait for the reader, and as long again for the thread.
        """
        self.flush(timeout_s)
        if not self._has_thread:
            return
        self._stop = True
        _release(self._hurry)
        _release(self._wake)
        deadline = monotonic() + timeout_s
        while self._has_thread and monotonic() < deadline:
            sleep(_YIELD_S / 4)
        # It may have ended without seeing the last wake-up; the next line must start another.
        self._armed = self._has_thread

    def resume(self) -> None:
        """Continue with what ``quiesce`` could not write in time."""
        if self.has_unwritten:
            self._arm()

    def _arm(self) -> None:
        """Make sure that somebody writes what is queued: the thread, or else the caller."""
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
            # Not a threading.Thread: programs enumerate those, and context.threads wraps their start.
            _thread.start_new_thread(self._run, ())
        except RuntimeError:  # no more threads, or the interpreter is ending
            self._has_thread = self.threaded = False
            self.flush(FULL_WAIT_S)

    def _run(self) -> None:
        while not self._stop:
            self._wake.acquire()
            self._hurry.acquire(timeout=0 if self._stop else FLUSH_INTERVAL_S)
            self._armed = False
            with suppress(Exception):  # without this thread no line would be written any more
                self._drain()
        self._has_thread = False

    def _drain(self) -> None:
        """Write batch by batch; leave the lock to the callers in a burst."""
        while self.has_unwritten and not self._stop:
            self._write_batch(monotonic() + THREAD_WAIT_S)
            if len(self._lines) >= BURST_LINES:
                # A caller that writes needs no switch of threads, which takes up to 5 ms.
                sleep(_YIELD_S)

    def _relieve(self) -> None:
        """Write what the descriptor takes at once; if the queue is full, wait or drop lines."""
        while self._lines and self._write_batch(0.0):
            pass
        if len(self._lines) >= QUEUE_LINES_MAX:
            self._make_room()

    def _make_room(self) -> None:
        deadline = monotonic() + FULL_WAIT_S
        while not self._stalled and len(self._lines) > QUEUE_LINES_MAX // 2:
            if not self._write_batch(deadline) and monotonic() >= deadline:
                self._stalled = True
        self._drop_above(QUEUE_LINES_MAX)

    def _drop_above(self, bound: int) -> None:
        """Drop the newest lines, so that the lines that are kept have one gap instead of many."""
        while len(self._lines) > bound:
            with suppress(IndexError):
                self._lines.pop()
                self._overflowed += 1

    def _write_batch(self, deadline: float) -> bool:
        """Write one batch.

        Args:
            deadline: When to give up, by the monotonic clock; 0.0 means without waiting.

        Returns:
            Whether the descriptor took it in time.
        """
        wait_s = max(0.0, deadline - monotonic()) if deadline else 0.0
        if not self._lock.acquire(timeout=wait_s):
            return False
        try:
            is_written = self._descriptor.write(self._take_batch, deadline)
        finally:
            self._lock.release()
        if is_written:
            self._stalled = False
            if self.dropped > self._reported and not self._descriptor.broken:
                self._report_dropped()
        return is_written

    def _report_dropped(self) -> None:
        count, self._reported = self.dropped - self._reported, self.dropped
        self._log_dropped(count)

    def _take_batch(self) -> bytes:
        size, batch, lines = 0, [], self._lines
        try:
            while size < _BATCH_BYTES:
                line = lines.popleft()
                batch.append(line)
                size += len(line)
        except IndexError:  # the queue is empty
            pass
        return b"".join(batch)


def _locked() -> "_thread.LockType":
    lock = _thread.allocate_lock()
    lock.acquire()
    return lock


def _release(lock: "_thread.LockType") -> None:
    with suppress(RuntimeError):  # released already, by another thread
        lock.release()
