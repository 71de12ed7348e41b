"""Bytes to a file descriptor: whole lines, without blocking for longer than was asked.

Several processes may share one pipe. Each takes the pipe's record lock (``fcntl``: owned by a
process, never inherited) for a batch. Where the pipe has room for the batch it is one system call,
which no other can split; else it goes in pieces of at most PIPE_BUF bytes, which the kernel never
interleaves with anybody's, each after asking whether the pipe takes it.
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
_HOLDER_FROZEN_S: Final = 0.2
"""Who holds the lock for so long while the pipe is free to write is stopped or dead."""
_SLACK_BYTES: Final = 2 * _PIPE_BUF
"""A pipe counts in pages: its first and its last may be part empty."""
_LOCK_RETRY_S: Final = 0.0002
_NO_BYTES: Final = b"\0\0\0\0"  # ioctl's room for an int
_HERE: Final = -1  # pwritev2(2): at the descriptor's own position
_GONE: Final = frozenset({errno.EPIPE, errno.EBADF, errno.EIO, errno.ECONNRESET, errno.ENOTCONN})
_SIGPIPE: Final = (signal.SIGPIPE,)


class Descriptor:
    """A file descriptor and what of a batch could not be written yet."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.lost = 0
        self.broken = False
        self.rest = b""
        self._holds_lock = False
        self._capacity = 0
        self._is_file = self._look()
        self._poll = self._new_poll()

    def after_fork(self) -> None:
        """Leave to the parent what it has not finished; its lock is not ours.

        The poll object is made anew: one that another thread waited in when the process was forked
        refuses every call in the child ("concurrent poll() invocation").
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

    def _look(self) -> bool:
        try:
            mode = os.fstat(self.fd).st_mode
        except (OSError, OverflowError, ValueError):  # closed: whoever opens next gets this number
            self.broken = True
            return True
        if stat.S_ISFIFO(mode):
            self._capacity = fcntl.fcntl(self.fd, fcntl.F_GETPIPE_SZ)
        return stat.S_ISREG(mode) or (stat.S_ISCHR(mode) and not os.isatty(self.fd))

    def write(self, gather: Callable[[], bytes], deadline: float) -> bool:
        """Write what is left over, or else what ``gather`` returns.

        Args:
            gather: Returns whole lines; called only once they can be written.
            deadline: When to give up, by the monotonic clock; 0.0 means: never wait.

        Returns:
            Whether all of it was written (or is lost, which ``lost`` counts).
        """
        if signal.getsignal(signal.SIGPIPE) == signal.SIG_DFL:
            return _without_sigpipe(lambda: self._write(gather, deadline))
        return self._write(gather, deadline)

    def _write(self, gather: Callable[[], bytes], deadline: float) -> bool:
        if self.broken:
            self._lose(self.rest or gather())
            return True
        if self._is_file:
            self._write_file(gather())
            return True
        if not self._writable(deadline) or not self._lock(deadline):
            return False
        data = self.rest or gather()
        done = self._write_pieces(data, deadline)
        self.rest = data[done:]
        if not self.rest or (done and data[done - 1] == ord("\n")):
            self._unlock()  # and not within a line
        return not self.rest

    def _write_file(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self.fd, view) :]
        except OSError:  # a full disk: the next lines may find room again
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
        """Write all in one call where the pipe has room for sure; return how much is written.

        Three times as quick as pieces. What is unread may fill as much as twice its pages.
        """
        if len(data) <= _PIPE_BUF or len(data) + _SLACK_BYTES > self._capacity:
            return 0
        try:
            unread = fcntl.ioctl(self.fd, termios.FIONREAD, _NO_BYTES)
            used = 2 * int.from_bytes(unread, sys.byteorder) + _SLACK_BYTES
            if len(data) + used > self._capacity:
                return 0
            return os.pwritev(self.fd, (data,), _HERE, os.RWF_NOWAIT)
        except BlockingIOError:
            return 0
        except OSError:  # gone, which the next piece will find, or a kernel before 6.4
            self._capacity = 0
            return 0

    def _write_some(self, piece: bytes) -> int:
        try:
            return os.write(self.fd, piece)
        except BlockingIOError:  # somebody made it non-blocking, and another was quicker
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
                if not self._writable(0.0):  # its holder writes: it is not frozen
                    frozen_since = 0.0
                sleep(_LOCK_RETRY_S)
            except OSError:  # no lock on such a descriptor
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
    """Return where a piece ends: after the last whole line within PIPE_BUF, else after one line."""
    if len(data) - start <= _PIPE_BUF:
        return len(data)
    end = data.rfind(b"\n", start, start + _PIPE_BUF) + 1
    return end or data.find(b"\n", start) + 1 or len(data)


def _without_sigpipe(action: Callable[[], bool]) -> bool:
    """Run ``action`` where a closed pipe is an error, though the program left SIGPIPE deadly."""
    before: Any = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGPIPE)
    try:
        return action()
    finally:
        if signal.SIGPIPE not in before:
            while signal.sigtimedwait(_SIGPIPE, 0) is not None:
                pass
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
