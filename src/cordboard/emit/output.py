"""The only code that writes bytes: whole lines, from any thread, without stopping the caller.

A caller appends its line to a queue. A thread, started by the first line, writes what has gathered
every 20 ms; a burst is written by the caller itself as long as the descriptor takes it at once; a
line at ``error`` is written before the call returns. When the reader stalls the queue fills, the
caller waits once for at most 100 ms, then lines are dropped and counted.

Several processes may share one pipe: each takes the pipe's record lock (``fcntl``, owned by a
process, not inherited) for a batch, and writes pieces of at most PIPE_BUF bytes.
"""

import _thread
import errno
import fcntl
import os
import select
import stat
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import monotonic, sleep
from typing import Final

FLUSH_INTERVAL_S: Final = 0.02
"""Half of the loss bound of 50 ms, and some for a busy machine."""

BURST_LINES: Final = 64
QUEUE_LINES_MAX: Final = 8192
FULL_WAIT_S: Final = 0.1
URGENT_WAIT_S: Final = 0.25
SHUTDOWN_WAIT_S: Final = 2.0
FOREIGN_LOCK_WAIT_S: Final = 0.2
_PIPE_BUF: Final = 4096  # Linux, pipe(7): writes up to this size are not interleaved
_BATCH_BYTES: Final = 65536


class Output:
    """A queue of lines before a file descriptor."""

    def __init__(self, fd: int, on_dropped: Callable[[int], None] | None = None) -> None:
        self.fd = fd
        self.dropped = 0
        self.broken = False
        self.threaded = True
        self._on_dropped = on_dropped
        self._dropped_told = 0
        self._is_file = _is_regular(fd)
        self._stalled = False
        self._rest = b""
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self.after_fork()

    def after_fork(self) -> None:
        """Begin anew in a child: the parent's lines are the parent's, and so is its thread."""
        self._lines: deque[bytes] = deque()
        self._rest = b""
        self._lock = _thread.allocate_lock()
        self._wake = _thread.allocate_lock()
        self._wake.acquire()
        self._armed = False
        self._has_thread = False
        self._stop = False

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
        self.flush(URGENT_WAIT_S)

    def flush(self, timeout_s: float = SHUTDOWN_WAIT_S) -> bool:
        """Write all that is queued; False when the reader did not take it in time."""
        deadline = monotonic() + timeout_s
        if not self._lock.acquire(timeout=timeout_s):
            return False
        try:
            return self._drain(deadline)
        finally:
            self._lock.release()

    def quiesce(self) -> None:
        """Write all that is queued and end the thread, so that the process can be forked."""
        self.flush()
        if not self._has_thread:
            return
        self._stop = True
        self._release_thread()
        deadline = monotonic() + 1.0
        while self._has_thread and monotonic() < deadline:
            sleep(0.0005)

    def _arm(self) -> None:
        self._armed = True
        if not self.threaded:
            self.flush(FULL_WAIT_S)
            self._armed = False
            return
        if not self._has_thread:
            self._start_thread()
        self._release_thread()

    def _release_thread(self) -> None:
        with suppress(RuntimeError):  # released already, by another thread
            self._wake.release()

    def _start_thread(self) -> None:
        self._has_thread, self._stop = True, False
        try:
            _thread.start_new_thread(self._run, ())
        except RuntimeError:  # no more threads, or the interpreter is ending
            self._has_thread = self.threaded = False
            self.flush(FULL_WAIT_S)

    def _run(self) -> None:
        while True:
            self._wake.acquire()
            if not self._stop:
                sleep(FLUSH_INTERVAL_S)
            self._armed = False
            with suppress(Exception):  # this thread must live; flush counts what is lost
                while not self.flush(1.0) and not self._stop:
                    pass
            if self._stop:
                self._has_thread = False
                return

    def _relieve(self) -> None:
        """A burst: write what the descriptor takes at once; when the queue is full wait, or drop."""
        if self._lock.acquire(blocking=False):
            try:
                if self._drain(0.0):
                    self._stalled = False
            finally:
                self._lock.release()
        if len(self._lines) > QUEUE_LINES_MAX:
            self._make_room()

    def _make_room(self) -> None:
        if not self._stalled and self.flush(FULL_WAIT_S):
            return
        self._stalled = True
        while len(self._lines) > QUEUE_LINES_MAX:
            with suppress(IndexError):
                self._lines.pop()
                self.dropped += 1

    def _drain(self, deadline: float) -> bool:
        """Write batches until nothing is left (True) or the descriptor would block (False)."""
        while self._lines or self._rest:
            if self.broken:
                self._discard()
                return True
            if self._is_file:
                self._write_file(self._gather())
            elif not self._write_pipe(deadline):
                return False
        if self.dropped > self._dropped_told and self._on_dropped is not None:
            count, self._dropped_told = self.dropped - self._dropped_told, self.dropped
            self._on_dropped(count)
        return True

    def _gather(self) -> bytes:
        size, batch, lines = len(self._rest), [self._rest], self._lines
        self._rest = b""
        with suppress(IndexError):
            while size < _BATCH_BYTES:
                line = lines.popleft()
                batch.append(line)
                size += len(line)
        return b"".join(batch)

    def _discard(self) -> None:
        self.dropped += len(self._lines)
        self._lines.clear()
        self._rest = b""

    def _write_file(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self.fd, view) :]
        except OSError:  # disk full, closed: nothing better can be done with these lines
            self.dropped += data.count(b"\n")

    def _write_pipe(self, deadline: float) -> bool:
        if not self._rest and not self._writable(deadline):
            return False
        locked = _lock_pipe(self.fd)
        try:
            data = self._gather()
            done = self._write_pieces(data, deadline)
            self._rest = data[done:]
            return not self._rest
        finally:
            if locked:
                _unlock_pipe(self.fd)

    def _write_pieces(self, data: bytes, deadline: float) -> int:
        start = 0
        while start < len(data):
            end = _piece_end(data, start)
            while start < end:
                if not self._writable(deadline):
                    return start
                written = self._write_some(data[start : min(end, start + _PIPE_BUF)])
                if self.broken:
                    return len(data)
                start += written
        return start

    def _write_some(self, data: bytes) -> int:
        try:
            return os.write(self.fd, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            self.broken = error.errno in {errno.EPIPE, errno.EBADF, errno.EIO, errno.ECONNRESET}
            self.dropped += data.count(b"\n")
            return len(data)

    def _writable(self, deadline: float) -> bool:
        wait_s = max(0.0, deadline - monotonic()) if deadline else 0.0
        return bool(self._poll.poll(wait_s * 1000))


def _piece_end(data: bytes, start: int) -> int:
    """Return where a piece ends: after the last whole line within PIPE_BUF, else after one line."""
    if len(data) - start <= _PIPE_BUF:
        return len(data)
    end = data.rfind(b"\n", start, start + _PIPE_BUF) + 1
    return end or data.find(b"\n", start) + 1 or len(data)


def _lock_pipe(fd: int) -> bool:
    """Take the record lock of a pipe; False when it cannot be had in time (a frozen holder)."""
    deadline = 0.0
    while True:
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            deadline = deadline or monotonic() + FOREIGN_LOCK_WAIT_S
            if monotonic() > deadline:
                return False
            sleep(0.0002)
        except OSError:
            return False
        else:
            return True


def _unlock_pipe(fd: int) -> None:
    with suppress(OSError):
        fcntl.lockf(fd, fcntl.LOCK_UN)


def _is_regular(fd: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode)
    except OSError:
        return False
