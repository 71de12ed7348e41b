"""Ask the bots of a runner regularly whether they can take a new session, and keep the answers."""

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from cordboard.emit import get_logger
from cordboard.runner.heartbeat import Heartbeat
from cordboard.runner.registry import Registry

# How old an answer may be. A cluster asks for readiness every 10 s by default.
PERIOD_S: Final = 5.0

# How long `readyz()` may take: much longer than any check of a service that a caller could wait for.
TIMEOUT_S: Final = 5.0

# A bot whose process imports the file itself takes seconds to ask; at most a tenth of a processor is used.
PAUSE_FACTOR: Final = 9

NOT_ASKED: Final = "readyz() has not answered yet"

log = get_logger("runner")


@dataclass(frozen=True, slots=True)
class ReadinessWatch:
    """Keeps the readiness of a warm runner's bots.

    A runner registers without the bots that are not ready; their running sessions go on.

    Attributes:
        registry: The sessions of this runner.
        heartbeat: Registers this runner.
        period_s: Seconds between two questions.
        timeout_s: Seconds that ``readyz()`` may take.
    """

    registry: Registry
    heartbeat: Heartbeat
    period_s: float = PERIOD_S
    timeout_s: float = TIMEOUT_S

    def begin(self) -> None:
        """Take the bots with ``readyz()`` as not ready until they have answered."""
        bots = self.registry.host.fork_server.bots_with_readyz
        self.registry.unready.update(dict.fromkeys(bots, NOT_ASKED))

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            began_at = time.monotonic()
            await self._ask_all()
            taken_s = time.monotonic() - began_at
            await asyncio.sleep(max(self.period_s, taken_s * PAUSE_FACTOR))

    async def _ask_all(self) -> None:
        fork_server, unready = self.registry.host.fork_server, self.registry.unready
        before = set(unready)
        bots = fork_server.bots_with_readyz
        for bot in set(unready) - set(bots):  # the bot file was loaded again, without the function
            del unready[bot]
        for bot in bots:
            readiness = await fork_server.ask_readyz(bot, self.timeout_s)
            if readiness is None:  # the fork server ends at this moment, and another one is started
                continue
            if readiness.is_ready:
                if unready.pop(bot, NOT_ASKED) != NOT_ASKED:
                    log.info("The bot is ready again", bot=bot)
            elif unready.get(bot) != readiness.reason:
                unready[bot] = readiness.reason
                log.warning("The bot is not ready", bot=bot, reason=readiness.reason)
        if set(unready) != before:
            await self.heartbeat.beat()
