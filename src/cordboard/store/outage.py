"""Log lines about an outage of Redis: one at its start, one each minute, and one at its end."""

import time
from typing import Final

from cordboard.contract.errors import StoreUnavailableError
from cordboard.emit import Logger

REMINDER_S: Final = 60.0  # often enough that a log of any ten minutes shows the outage


class Outage:
    """The outage of one Redis, as the tasks of one process observe it.

    Args:
        log: The logger.
        message: The message at the start of an outage, which says what the process does meanwhile.
        reminder_s: Seconds between two lines during an outage.
    """

    def __init__(self, log: Logger, message: str, *, reminder_s: float = REMINDER_S) -> None:
        self._log = log
        self._message = message
        self._reminder_s = reminder_s
        self._failing_tasks: set[str] = set()
        self._since = self._last_line_at = 0.0

    def record_failure(self, error: StoreUnavailableError, task: str = "") -> None:
        """Record that the operation of ``task`` failed with ``error``."""
        now = time.monotonic()
        if not self._failing_tasks:
            self._since = self._last_line_at = now
            self._log.warning(self._message, error=error)
        elif now - self._last_line_at >= self._reminder_s:
            self._last_line_at = now
            self._log.warning(
                "Redis is still unavailable", seconds=round(now - self._since), error=error
            )
        self._failing_tasks.add(task)

    def record_success(self, task: str = "") -> None:
        """Record that an operation of ``task`` succeeded. The outage ends when no task fails any more."""
        if task not in self._failing_tasks:
            return
        self._failing_tasks.discard(task)
        if not self._failing_tasks:
            self._log.info(
                "Redis is available again", seconds=round(time.monotonic() - self._since, 1)
            )
