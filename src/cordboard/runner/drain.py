"""Drain a runner: let the running sessions end within the grace period, then hand over the rest."""

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import Final

from cordboard.context import bound_context
from cordboard.emit import get_logger
from cordboard.runner.bot_session import BotSession
from cordboard.runner.bot_stop import HAND_OVER_GRACE_S
from cordboard.runner.heartbeat import Heartbeat
from cordboard.runner.pipes import DRAINING
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
        is_over: Set at the end, so that the watch connections close.
    """

    registry: Registry
    heartbeat: Heartbeat
    grace_s: float
    is_over: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Accept no more sessions; return when the last one has ended, or is handed over, in the store."""
        self.registry.is_draining = True
        live = self.registry.live
        log.info("Draining", sessions=len(live), grace_s=self.grace_s)
        await self.heartbeat.beat()
        deadline = time.monotonic() + self.grace_s
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(deadline - time.monotonic(), 0)):
                await asyncio.gather(*(session.gone.wait() for session in live))
        await asyncio.gather(*(_hand_over(session) for session in self.registry.live))
        unwritten = [session for session in self.registry.all if not session.finished.is_set()]
        with contextlib.suppress(TimeoutError):
            # An end that is not written when the runner exits looks like its death: the call would run again.
            async with asyncio.timeout(max(deadline - time.monotonic(), WRITE_ENDS_MIN_S)):
                await asyncio.gather(*(session.finished.wait() for session in unwritten))
        self.is_over.set()


async def _hand_over(session: BotSession) -> None:
    """Stop the bot; when it is gone, the session is queued for another runner."""
    with bound_context(session.context):
        await session.stop(DRAINING, "the runner was stopped", grace_s=HAND_OVER_GRACE_S)
