"""Stop a bot whose lease may have passed to another runner, from inside the bot process.

The supervisor and the bot process share a page of memory. The supervisor writes into it when the lease was
last renewed, by a clock of this machine that also advances while the machine sleeps. The bot process reads
the page on its own, so it is safe from a supervisor that hangs or is frozen:

- It measures its own pauses. After a pause during which the lease may have expired, the bot does not
  continue until the page shows a newer renewal.
- When no renewal arrives for longer than a holder may continue, the process kills itself and its children.

The process writes back when it last ran, so that the supervisor can tell a frozen process.

Three places call the guard, because a bot can be stopped anywhere: a thread that polls the page, the
handler of SIGCONT (which the kernel delivers to a process that was frozen by SIGSTOP), and the event
loop's selector, so that no callback runs between the pause and the check.
"""

import mmap
import os
import selectors
import signal
import struct
import tempfile
import threading
import time
from time import clock_gettime
from types import FrameType
from typing import Any, Final, Self

from cordboard.contract.lease import Periods
from cordboard.emit import get_logger
from cordboard.processes import kill_children

# How often the guard's thread reads the page: a quarter of ``PAUSE_S``, so that a thread that runs on
# time never measures a pause.
POLL_S: Final = 0.25

# A process that did not run for so long was frozen. A busy machine delays a thread for a fraction of it.
PAUSE_S: Final = 1.0

# How often a paused bot reads the page again; the delay that it adds to a bot that may continue.
RECHECK_S: Final = 0.01

# In leases: how much later than the supervisor the bot process acts, so that a working supervisor kills
# the bot first and can report why. With the default lease that is 1 s after 75 s, and 14 s before the
# room is granted again.
_SELF_KILL_DELAY: Final = 1 / 15

# The time of the last renewal; 1.0 once the process kills itself; the time at which it last ran.
_PAGE: Final = struct.Struct("ddd")
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

log = get_logger("lease_guard")


def steady_time() -> float:
    """Return the seconds of a clock that never goes back and advances while the machine sleeps."""
    return time.clock_gettime(_CLOCK)


class LeasePage:
    """The page of memory that the supervisor shares with one bot process.

    Reads and writes need no lock: each value is one aligned double, which the processor writes at once.

    Args:
        descriptor: An open file of the page's size. The page closes it in ``release``.

    Attributes:
        descriptor: The file, for the process that maps the page as well.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._page = mmap.mmap(descriptor, _PAGE.size)
        self._values = memoryview(self._page).cast("d")

    @classmethod
    def create(cls) -> Self:
        """Return a new page whose lease counts as renewed now."""
        page = cls(_open_anonymous_file(_PAGE.size))
        page.renewed_at = page.ran_at = steady_time()
        return page

    @property
    def renewed_at(self) -> float:
        """The ``steady_time`` at which the last confirmed renewal was requested."""
        return self._values[0]

    @renewed_at.setter
    def renewed_at(self, at: float) -> None:
        """Set the time of the last confirmed renewal to ``at``."""
        self._values[0] = at

    @property
    def is_self_killed(self) -> bool:
        """Whether the bot process has killed itself because no renewal arrived."""
        return self._values[1] != 0

    def mark_self_killed(self) -> None:
        """Record that the bot process is about to kill itself."""
        self._values[1] = 1.0

    @property
    def ran_at(self) -> float:
        """The ``steady_time`` at which the guard's thread of the bot process last ran."""
        return self._values[2]

    @ran_at.setter
    def ran_at(self, at: float) -> None:
        """Set the time at which the bot process last ran to ``at``."""
        self._values[2] = at

    def release(self) -> None:
        """Unmap the page and close its file."""
        self._values.release()
        self._page.close()
        os.close(self.descriptor)


def _open_anonymous_file(size: int) -> int:
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("cordboard-lease")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor


class LeaseGuard:
    """Watches the lease page from inside the bot process.

    Args:
        page: The page that the supervisor writes.
        periods: The duration of a lease, and how long its holder may continue without a renewal.

    Attributes:
        polled_at: The ``steady_time`` until which the thread has seen that the bot may continue.
    """

    def __init__(self, page: LeasePage, periods: Periods) -> None:
        self._page = page
        self._lease_s = periods.lease_s
        self._limit_s = periods.tolerance_s + periods.lease_s * _SELF_KILL_DELAY
        self.polled_at = steady_time()

    def start(self) -> None:
        """Start the thread, and handle the signal that continues a stopped process."""
        signal.signal(signal.SIGCONT, self._handle_continue)
        threading.Thread(target=self._poll, name="cordboard lease guard", daemon=True).start()

    def selector(self) -> "GuardedSelector":
        """Return a selector for the bot's event loop that calls ``wait_for_lease`` in each round."""
        return GuardedSelector(self)

    def wait_for_lease(self) -> None:
        """Block while this process was paused and its lease may have expired; else return at once.

        It logs nothing: a signal handler calls it, possibly in the middle of writing a line.
        """
        while self._may_have_expired():
            time.sleep(RECHECK_S)

    def _may_have_expired(self) -> bool:
        # The pause is the cheaper question and almost always false, so the page is read rarely.
        return steady_time() - self.polled_at >= PAUSE_S and self._renewal_age_s() >= self._lease_s

    def _renewal_age_s(self) -> float:
        return steady_time() - self._page.renewed_at

    def _handle_continue(self, _number: int, _frame: FrameType | None) -> None:
        self.wait_for_lease()

    def _poll(self) -> None:
        while True:
            time.sleep(POLL_S)
            self._page.ran_at = steady_time()
            if self._may_have_expired():
                log.warning("This process was paused; waiting until its lease is confirmed")
            while self._may_have_expired() and self._renewal_age_s() < self._limit_s:
                time.sleep(RECHECK_S)
            if self._renewal_age_s() >= self._limit_s:
                self._kill_bot()
            # Last, and only by this thread: from here on the other callers may let the bot continue.
            self.polled_at = steady_time()

    def _kill_bot(self) -> None:
        log.error(
            "The lease was not renewed in time and the runner does not respond; ending the bot",
            event="lease.lost",
        )
        self._page.mark_self_killed()
        kill_children()  # some may have left the process group, and a hung supervisor ends none
        os.killpg(os.getpgrp(), signal.SIGKILL)


class GuardedSelector(selectors.DefaultSelector):
    """A selector that lets no callback of an event loop run while the lease is uncertain.

    Args:
        guard: The guard of this process.
    """

    def __init__(self, guard: LeaseGuard) -> None:
        super().__init__()
        self._guard = guard

    def select(self, timeout: float | None = None) -> Any:
        """Wait up to `timeout` seconds for events; return them once the lease is certain."""
        events = super().select(timeout)
        # The cheaper half of the question, without further calls: a loop has some hundred rounds a second.
        if clock_gettime(_CLOCK) - self._guard.polled_at >= PAUSE_S:
            self._guard.wait_for_lease()
        return events
