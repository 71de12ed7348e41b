"""Whether the log sources answer, for the health page.

A folder is looked at at once. Each other source is asked as `cordboard doctor --env` asks it, which may take long: in
a process of its own, at most once a minute, and the page does not wait for it.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final

from cordboard.contract.errors import CordboardError
from cordboard.emit import get_logger
from cordboard.interface.log_readings import LogReadings
from cordboard.interface.log_sources import NOT_CHECKED, SourceState, log_sources
from cordboard.interface.shared_request import SharedRequest
from cordboard.web.rate_limits import Clock

FRESH_S: Final = 60.0
"""How long an answer counts."""
PATIENCE_S: Final = 1.0
"""How long the page waits for the answers; it shows them when it is refreshed."""

log = get_logger("interface")


class SourceChecks:
    """Asks the log sources, and remembers their answers.

    Args:
        readings: Asks them.
        clock: A monotonic clock, in seconds.
    """

    def __init__(self, readings: LogReadings, clock: Clock = time.monotonic) -> None:
        self._readings = readings
        self._clock = clock
        self._answers: Mapping[str, SourceState] = {}
        self._fault = ""
        self._asked_at: float | None = None
        self._request = SharedRequest(self._ask)

    async def states(self) -> list[SourceState]:
        """Return the state of each source; that of a source that has not answered yet is not known."""
        found = await asyncio.to_thread(log_sources, self._readings.environment)
        if all(state.state != NOT_CHECKED for state in found):
            return found
        if self._asked_at is None or self._clock() - self._asked_at >= FRESH_S:
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await self._request.answer()
        return [self._known(state) if state.state == NOT_CHECKED else state for state in found]

    async def close(self) -> None:
        """End a check that is under way."""
        self._readings.closing.set()
        await self._request.ended()

    def _known(self, state: SourceState) -> SourceState:
        words = self._fault or state.words
        return self._answers.get(state.name, replace(state, words=words))

    async def _ask(self) -> None:
        try:
            self._answers = {state.name: state for state in await self._readings.checks()}
            self._fault = ""
        except (CordboardError, OSError) as error:
            log.warning("The log sources could not be checked", reason=str(error))
            self._answers, self._fault = (
                {},
                "The check did not end in time, or could not be started.",
            )
        self._asked_at = self._clock()
