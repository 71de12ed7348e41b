"""Turns signals into requests to stop: in order by the first, at once by a second Ctrl-C."""

import asyncio
import signal
from collections.abc import Callable
from typing import Final

from cordboard.emit import get_logger

# make passes a signal on that its whole process group has received: those two are one request.
SAME_SIGNAL_S: Final = 0.3

log = get_logger("up")


class StopSignals:
    """The signals that stop ``up``.

    Args:
        kill: Called for a second Ctrl-C, to kill all components.
        same_signal_s: Signals within so many seconds count as one.

    Attributes:
        requested: Set by the first signal.
        is_urgent: Whether a second Ctrl-C has come.
    """

    def __init__(self, kill: Callable[[], None], same_signal_s: float = SAME_SIGNAL_S) -> None:
        self.requested = asyncio.Event()
        self.is_urgent = False
        self._kill = kill
        self._same_signal_s = same_signal_s
        self._ignores = False

    def install(self) -> None:
        """Handle SIGINT, SIGTERM and SIGHUP in the running event loop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self.receive, number)

    def receive(self, number: signal.Signals) -> None:
        """Handle the signal `number`."""
        if self._ignores:
            return
        self._ignores = True
        # A timer, not a comparison of times: if the loop was blocked, it runs both handlers first.
        asyncio.get_running_loop().call_later(self._same_signal_s, self._heed)
        if not self.requested.is_set():
            self.requested.set()
            log.info("Stopping all components in order", signal=number.name)
        elif number is signal.SIGINT:
            # A person at a keyboard. Supervisors that repeat SIGTERM can wait for the order.
            self.is_urgent = True
            log.warning("Stopping at once", signal=number.name)
            self._kill()

    def _heed(self) -> None:
        self._ignores = False
