"""Says that Redis is away: once, then once a minute, and once that it is back, whoever met it."""

import time
from typing import Final

from cordboard.contract.errors import StoreUnavailableError
from cordboard.emit import Logger

REMIND_S: Final = 60.0


class Outage:
    """One for all tasks of a part that ask the same Redis.

    Args:
        log: Whose lines these are.
        message: What is said when it goes away: what the part does meanwhile.
    """

    def __init__(self, log: Logger, message: str) -> None:
        self._log = log
        self._message = message
        self._tasks: set[str] = set()
        self._since = self._said_at = 0.0

    def record_failure(self, error: StoreUnavailableError, task: str = "") -> None:
        """Note that a task found Redis away."""
        now = time.monotonic()
        if not self._tasks:
            self._since = self._said_at = now
            self._log.warning(self._message, error=error)
        elif now - self._said_at >= REMIND_S:
            self._said_at = now
            self._log.warning("Redis is still away", seconds=round(now - self._since), error=error)
        self._tasks.add(task)

    def record_success(self, task: str = "") -> None:
        """Note that a task was answered; it is over when all that had met it were."""
        if task not in self._tasks:
            return
        self._tasks.discard(task)
        if not self._tasks:
            self._log.info("Redis is back", seconds=round(time.monotonic() - self._since, 1))
