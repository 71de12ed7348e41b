"""The fence around a bot: it never speaks on a right that may be another's by now.

The supervisor writes into a page of memory, shared with the bot's process, when each lease was last
renewed, by a clock of this machine that runs while it sleeps. The bot's process looks at it by
itself, so that it is safe from a supervisor that hangs or is frozen:

- after a pause of its own (it measures them) it asks first: while the lease may have run out it
  does nothing until the page says that it was renewed;
- when no renewal came for longer than a holder may go on, it ends.
"""

import mmap
import os
import selectors
import signal
import struct
import tempfile
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from cordboard.contract.lease import Periods
from cordboard.emit import get_logger
from cordboard.processes import kill_children

WATCH_S: Final = 0.25
PAUSE_S: Final = 1.0  # what stands still for so long was frozen, not only busy
ASK_S: Final = 0.01
_PAGE: Final = struct.Struct("dd")  # when it was renewed; 1.0 once the fence has closed
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

log = get_logger("lease_guard")


def steady() -> float:
    """Return seconds of a clock that never goes back, and goes on while the machine sleeps."""
    return time.clock_gettime(_CLOCK)


class LeasePage:
    """The shared page of one session.

    Args:
        descriptor: An open file of ``_PAGE`` bytes; by default a new one, without a name.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self.descriptor = _new_page() if descriptor is None else descriptor
        self._page = mmap.mmap(self.descriptor, _PAGE.size)
        self._values = memoryview(self._page).cast("d")

    @property
    def renewed_at(self) -> float:
        """When the last confirmed renewal was asked for."""
        return self._values[0]

    @renewed_at.setter
    def renewed_at(self, at: float) -> None:
        self._values[0] = at

    @property
    def closed(self) -> bool:
        """Whether the bot's process has ended itself, as no renewal came."""
        return self._values[1] != 0

    def close_fence(self) -> None:
        """Say that this process ends itself."""
        self._values[1] = 1.0

    def release(self) -> None:
        """Let go of the page."""
        self._values.release()
        self._page.close()
        os.close(self.descriptor)


def _new_page() -> int:
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("cordboard-lease")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, _PAGE.size)
    return descriptor


class LeaseGuard:
    """Watches a lease_page from within the bot's process.

    Args:
        lease_page: The page.
        periods: How long a lease lasts, and how long its holder may go on without a renewal.
        die: Ends this process and all that it started.
    """

    def __init__(
        self, lease_page: LeasePage, periods: Periods, die: Callable[[], None] | None = None
    ) -> None:
        self._permit = lease_page
        self._lease_s = periods.lease_s
        # The supervisor stops its bots after `tolerance_s`; a little later we do without it.
        self._limit_s = periods.tolerance_s + periods.lease_s / 15
        self._seen_at = steady()
        self._die = die or _kill_group

    def install(self) -> None:
        """Watch from now on: a thread, and the signal that a stopped process gets as it thaws."""
        signal.signal(signal.SIGCONT, self._continued)
        threading.Thread(target=self._watch, name="cordboard fence", daemon=True).start()

    def selector(self) -> "AskingSelector":
        """Return a selector for the bot's event loop that asks after each pause."""
        return AskingSelector(self.check)

    def check(self) -> None:
        """Return at once, or, after a pause in which the lease may have gone, when it is held.

        It says nothing itself: a signal's handler runs it, in the middle of whatever was said.
        """
        while self._may_have_gone():
            time.sleep(ASK_S)

    def _may_have_gone(self) -> bool:
        return steady() - self._seen_at >= PAUSE_S and self._age() >= self._lease_s

    def _continued(self, _number: int, _frame: FrameType | None) -> None:
        self.check()

    def _age(self) -> float:
        return steady() - self._permit.renewed_at

    def _watch(self) -> None:
        while True:
            time.sleep(WATCH_S)
            if self._may_have_gone():
                log.warning("This process stood still; asking before the bot goes on")
            while self._may_have_gone() and self._age() < self._limit_s:
                time.sleep(ASK_S)
            if self._age() >= self._limit_s:
                self._close()
            self._seen_at = steady()

    def _close(self) -> None:
        log.error(
            "Lease could not be renewed for too long, and the runner does not act",
            event="lease.lost",
        )
        self._permit.close_fence()
        self._die()


class AskingSelector(selectors.DefaultSelector):
    """Calls something between any two rounds of an event loop.

    Args:
        check: What to call.
    """

    def __init__(self, check: Callable[[], None]) -> None:
        super().__init__()
        self._check = check

    def select(self, timeout: float | None = None) -> Any:
        """Wait for events; look at the fence before they are handed on."""
        found = super().select(timeout)
        self._check()
        return found


def _kill_group() -> None:
    kill_children()  # a supervisor that hangs would not
    os.killpg(os.getpgrp(), signal.SIGKILL)
