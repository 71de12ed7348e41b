"""The watch connections of a runner: operators hold them, and see at once when the runner dies."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

# As often as a lease is renewed; load balancers close connections that are idle for a minute.
COMMENT_PERIOD_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Watch:
    """The content of the watch connections.

    Attributes:
        is_over: Set when the runner has handed over or ended its last session.
        period_s: Seconds between two comments.
    """

    is_over: asyncio.Event = field(default_factory=asyncio.Event)
    period_s: float = COMMENT_PERIOD_S

    async def comments(self) -> AsyncIterator[bytes]:
        """Yield a comment at once, and another one in each period, until the runner has nothing left to do."""
        while not self.is_over.is_set():
            yield b": watching\n\n"
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.period_s):
                    await self.is_over.wait()
