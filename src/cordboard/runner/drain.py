"""Drain a runner: let the running sessions end within the grace period, then hand over the rest."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
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

# The exit of a bot process takes some 25 ms of a processor. If 50 are stopped at once, each of them is gone only when
# nearly all are, and its caller hears nothing meanwhile: on two cores for 1.5 s, before the next bot is even started.
# So the others go on talking until it is their turn.
HAND_OVERS_AT_ONCE: Final = 4

# A turn ends after this time, even if the bot has not: one that handles its cancellation slowly uses no processor.
TURN_S: Final = 0.25

# All bots are stopped within this time, however many there are. A bot then has up to 2 s, and the runner of a pod is
# killed 15 s after the grace period.
TURNS_S: Final = 5.0

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
        await _hand_over_in_turns(self.registry.live)
        unwritten = [session for session in self.registry.all if not session.finished.is_set()]
        with contextlib.suppress(TimeoutError):
            # An end that is not written when the runner exits looks like its death: the call would run again.
            async with asyncio.timeout(max(deadline - time.monotonic(), WRITE_ENDS_MIN_S)):
                await asyncio.gather(*(session.finished.wait() for session in unwritten))
        self.is_over.set()


async def _hand_over_in_turns(sessions: Sequence[BotSession]) -> None:
    """Hand sessions over, a few at a time; return when all their bots are gone."""
    turns = asyncio.Semaphore(HAND_OVERS_AT_ONCE)
    turn_s = min(TURN_S, TURNS_S * HAND_OVERS_AT_ONCE / max(len(sessions), 1))

    async def take_turn(session: BotSession) -> None:
        async with turns:
            stopping = asyncio.create_task(_hand_over(session))
            await asyncio.wait({stopping}, timeout=turn_s)
        await stopping

    await asyncio.gather(*(take_turn(session) for session in sessions))


async def _hand_over(session: BotSession) -> None:
    """Stop the bot; when it is gone, the session is queued for another runner."""
    with bound_context(session.context):
        await session.stop(DRAINING, "the runner was stopped", grace_s=HAND_OVER_GRACE_S)
