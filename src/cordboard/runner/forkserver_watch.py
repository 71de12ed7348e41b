"""Start the fork server again whenever it has ended."""

import asyncio
from dataclasses import dataclass
from typing import Final

from cordboard.emit import get_logger
from cordboard.runner.heartbeat import Heartbeat
from cordboard.runner.registry import Registry

# A full disk or a lack of memory may pass; loading the bots takes seconds of all processors each time.
RETRY_S: Final = 5.0

log = get_logger("runner")


@dataclass(frozen=True, slots=True)
class ForkServerWatch:
    """Keeps a fork server running for a warm runner.

    The sessions of a fork server that has ended are lost; an operator starts them on other runners. The
    runner accepts no sessions until the new fork server has loaded the bots.

    Attributes:
        registry: The sessions of this runner.
        heartbeat: Registers this runner.
        retry_s: Seconds between two attempts to start a fork server.
    """

    registry: Registry
    heartbeat: Heartbeat
    retry_s: float = RETRY_S

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await self.registry.host.fork_server.wait_until_ended()
            self.registry.is_loading = True
            log.error("The fork server has ended, and all bots with it; starting another one")
            await self.heartbeat.beat()
            await self.restart()
            self.registry.is_loading = False
            log.info("The bots are loaded again")
            await self.heartbeat.beat()

    async def restart(self) -> None:
        """Start another fork server, and repeat it until the bots are loaded."""
        while True:
            try:
                return await self.registry.host.fork_server.restart()
            except Exception as error:
                log.error("The bots cannot be loaded; retrying", error=error)
                await asyncio.sleep(self.retry_s)
