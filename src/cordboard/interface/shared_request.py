"""A request whose answer all get who need it at the same time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedRequest(Generic[T]):
    """Sends a request once for all who wait for its answer.

    It goes on when somebody who waits is gone: the others still need the answer. So it has to have a timeout of its own.

    Args:
        send: Sends the request; returns the answer.
    """

    def __init__(self, send: Callable[[], Awaitable[T]]) -> None:
        self._send = send
        self._running: asyncio.Task[T] | None = None

    async def answer(self) -> T:
        """Return the answer to the request that is under way, or to a new one; raise what it raises."""
        running = self._running
        if running is None:
            running = self._running = asyncio.create_task(self._sent(), name="shared request")
            running.add_done_callback(_note_failure)
        return await asyncio.shield(running)

    async def ended(self) -> None:
        """Wait until no request is under way."""
        if self._running is not None:
            await asyncio.wait({self._running})

    async def _sent(self) -> T:
        try:
            return await self._send()
        finally:
            self._running = None


def _note_failure(running: "asyncio.Task[T]") -> None:
    """Keep asyncio from reporting a failure for which nobody waits any more."""
    if not running.cancelled():
        running.exception()
