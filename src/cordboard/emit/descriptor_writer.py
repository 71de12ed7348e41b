"""Writes whole lines to a file descriptor without blocking for longer than a deadline.

Several processes may share one pipe. Each takes the pipe's record lock (``fcntl``: owned by a
process, never inherited) for a batch. If the pipe has room for the batch, it is written by one
system call, which no other process can split. Otherwise it is written in pieces of at most PIPE_BUF
bytes, which the kernel never interleaves with other writes, each after asking whether the pipe
takes it.
"""

import errno
import fcntl
import os
import select
import signal
import stat
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from time import monotonic, sleep
from typing import Any, Final

_PIPE_BUF: Final = 4096  # Linux, pipe(7): the least that a writable pipe takes at once
# A process that holds the lock for so long while the pipe is writable is stopped (SIGSTOP); the
# lock is then ignored, and PIPE_BUF alone keeps lines apart. Below the 0.25 s that an error waits.
_HOLDER_FROZEN_S: Final = 0.2
# A pipe counts in pages, and its first and its last page may be partly empty.
_SLACK_BYTES: Final = 2 * _PIPE_BUF
# Pause between two attempts to take the lock: the kernel has no wait for a record lock that ends
# at a deadline.
_LOCK_RETRY_S: Final = 0.0002
_INT_BUFFER: Final = b"\0\0\0\0"  # the int that ioctl fills
_CURRENT_POSITION: Final = -1  # pwritev2(2): at the descriptor's own position
_GONE: Final = frozenset({errno.EPIPE, errno.EBADF, errno.EIO, errno.ECONNRESET, errno.ENOTCONN})
_SIGPIPE: Final = (signal.SIGPIPE,)


class DescriptorWriter:
    """A file descriptor, and the rest of a batch that could not be written yet.

    Args:
        fd: The file descriptor.

    Attributes:
        fd: The file descriptor.
        lost: How many lines could not be written at all.
        broken: Whether the descriptor is closed, or the reader of the pipe is gone.
        rest: The part of a batch that is still to be written.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.lost = 0
        self.broken = False
        self.rest = b""
        self._holds_lock = False
        self._capacity = 0
        self._is_file = self._inspect()
        self._poll = self._new_poll()

    def after_fork(self) -> None:
        """Start empty in a child process: the parent writes its own rest, and has the lock.

        The poll object is replaced: one in which another thread waited during the fork refuses every
        call in the child ("concurrent poll() invocation").
        """
        self.rest = b""
        self.lost = 0
        self._holds_lock = False
        self._poll = self._new_poll()

    def _new_poll(self) -> "select.poll":
        poll = select.poll()
        if self.fd >= 0:
            poll.register(self.fd, select.POLLOUT)
        return poll

    def _inspect(self) -> bool:
        """Return whether the descriptor never blocks for a reader; note the size of a pipe."""
        try:
            mode = os.fstat(self.fd).st_mode
        except (OSError, OverflowError, ValueError):  # closed: the next open() may get this number
            self.broken = True
            return True
        if stat.S_ISFIFO(mode):
            self._capacity = fcntl.fcntl(self.fd, fcntl.F_GETPIPE_SZ)
        return stat.S_ISREG(mode) or (stat.S_ISCHR(mode) and not os.isatty(self.fd))

    def write(self, take_batch: Callable[[], bytes], deadline: float) -> bool:
        """Write the rest of the last batch, or else the batch that `take_batch` returns.

        Args:
            take_batch: Returns whole lines; called only when they can be written.
            deadline: When to give up, by the monotonic clock; 0.0 means without waiting.

        Returns:
            Whether everything was written, or is lost, which ``lost`` counts.
        """
        if signal.getsignal(signal.SIGPIPE) == signal.SIG_DFL:
            return _without_sigpipe(lambda: self._write(take_batch, deadline))
        return self._write(take_batch, deadline)

    def _write(self, take_batch: Callable[[], bytes], deadline: float) -> bool:
        if self.broken:
            self._lose(self.rest or take_batch())
            return True
        if self._is_file:
            self._write_file(take_batch())
            return True
        if not self._writable(deadline) or not self._lock(deadline):
            return False
        data = self.rest or take_batch()
        done = self._write_pieces(data, deadline)
        self.rest = data[done:]
        if not self.rest or (done and data[done - 1] == ord("\n")):
            self._unlock()  # never within a line
        return not self.rest

    def _write_file(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self.fd, view) :]
        except OSError:  # a full disk: there may be room again for the next lines
            self._lose(bytes(view))

    def _write_pieces(self, data: bytes, deadline: float) -> int:
        start = self._write_at_once(data)
        while start < len(data) and not self.broken:
            end = _piece_end(data, start)
            while start < end:
                if not self._writable(deadline):
                    return start
                start += self._write_some(data[start : min(end, start + _PIPE_BUF)])
                if self.broken:
                    self._lose(data[start:])
                    return len(data)
        return start

    def _write_at_once(self, data: bytes) -> int:
        """Write everything in one call if the pipe certainly has room; return how much was written.

        This is three times as fast as pieces. Unread bytes may occupy up to twice their size, since
        each write starts a page of its own.
        """
        if len(data) <= _PIPE_BUF or len(data) + _SLACK_BYTES > self._capacity:
            return 0
        try:
            unread = fcntl.ioctl(self.fd, termios.FIONREAD, _INT_BUFFER)
            used = 2 * int.from_bytes(unread, sys.byteorder) + _SLACK_BYTES
            if len(data) + used > self._capacity:
                return 0
            return os.pwritev(self.fd, (data,), _CURRENT_POSITION, os.RWF_NOWAIT)
        except BlockingIOError:
            return 0
        except OSError:  # closed, which the next piece reports, or a kernel before 6.4
            self._capacity = 0
            return 0

    def _write_some(self, piece: bytes) -> int:
        try:
            return os.write(self.fd, piece)
        except BlockingIOError:  # it is non-blocking, and another process was faster
            sleep(_LOCK_RETRY_S)
            return 0
        except OSError as error:
            self.broken = error.errno in _GONE
            self._lose(piece if not self.broken else b"")
            return 0 if self.broken else len(piece)

    def _lose(self, data: bytes) -> None:
        self.lost += data.count(b"\n")
        self.rest = b""

    def _writable(self, deadline: float) -> bool:
        wait_s = max(0.0, deadline - monotonic()) if deadline else 0.0
        return bool(self._poll.poll(wait_s * 1000))

    def _lock(self, deadline: float) -> bool:
        frozen_since = 0.0
        while not self._holds_lock:
            try:
                fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                now = monotonic()
                frozen_since = frozen_since or now
                if now - frozen_since > _HOLDER_FROZEN_S:
                    return True
                if now >= deadline:
                    return False
                if not self._writable(0.0):  # the pipe is full: the holder is not to blame
                    frozen_since = 0.0
                sleep(_LOCK_RETRY_S)
            except OSError:  # a descriptor that cannot be locked, such as a socket
                return True
            else:
                self._holds_lock = True
        return True

    def _unlock(self) -> None:
        if self._holds_lock:
            self._holds_lock = False
            with suppress(OSError):
                fcntl.lockf(self.fd, fcntl.LOCK_UN)


def _piece_end(data: bytes, start: int) -> int:
    """Return where a piece ends: after the last whole line within PIPE_BUF, or after one long line."""
    if len(data) - start <= _PIPE_BUF:
        return len(data)
    end = data.rfind(b"\n", start, start + _PIPE_BUF) + 1
    return end or data.find(b"\n", start) + 1 or len(data)


def _without_sigpipe(action: Callable[[], bool]) -> bool:
    """Run `action` with SIGPIPE blocked, so that a closed pipe is an error and no deadly signal.

    Python ignores SIGPIPE at its start; this is for programs that restore the default.
    """
    before: Any = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGPIPE)
    try:
        return action()
    finally:
        if signal.SIGPIPE not in before:
            while signal.sigtimedwait(_SIGPIPE, 0) is not None:
                pass
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
