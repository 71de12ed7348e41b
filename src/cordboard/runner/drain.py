"""Drain a runner: let the running sessions end within the grace period, then stop the rest."""

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import Final

from cordboard.context import bound_context
from cordboard.emit import get_logger
from cordboard.runner.bot_session import BotSession
from cordboard.runner.heartbeat import Heartbeat
from cordboard.runner.registry import Registry

# The minimum time for the last writes, even if the grace period is over. A write takes milliseconds; a Redis that
# does not answer within this time must not delay the exit much further.
WRITE_ENDS_MIN_S: Final = 2.0

log = get_logger("runner")


@dataclass(frozen=True, slots=True)
class Drain:
    """The end of a runner's work.

    Attributes:
        registry: The sessions of this runner.
        heartbeat: Registers this runner as draining.
        grace_s: How long running sessions may go on, in seconds.
    """

    registry: Registry
    heartbeat: Heartbeat
    grace_s: float

    async def run(self) -> None:
        """Accept no more sessions; return when the last one has ended and its end is written."""
        self.registry.is_draining = True
        live = self.registry.live
        log.info("Draining", sessions=len(live), grace_s=self.grace_s)
        await self.heartbeat.beat()
        deadline = time.monotonic() + self.grace_s
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(deadline - time.monotonic(), 0)):
                await asyncio.gather(*(session.gone.wait() for session in live))
        await asyncio.gather(*(_stop(session) for session in self.registry.live))
        unwritten = [session for session in self.registry.all if not session.finished.is_set()]
        with contextlib.suppress(TimeoutError):
            # An end that is not written when the runner exits looks like its death: the call would run again.
            async with asyncio.timeout(max(deadline - time.monotonic(), WRITE_ENDS_MIN_S)):
                await asyncio.gather(*(session.finished.wait() for session in unwritten))


async def _stop(session: BotSession) -> None:
    with bound_context(session.context):
        await session.stop("runner_lost", "the runner was stopped")
