"""Event streams end with the login of the person who opened them.

A request is answered once, but a stream goes on for up to an hour: it must not outlive a sign-out, the end of the
login, or a role.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Final

from starlette.requests import Request

from cordboard.interface.identity import Identity
from cordboard.interface.people import Person

CHECK_S: Final = 5.0
"""How long after the end of a login its streams may go on."""


class LoginWatch:
    """Looks at the login of the person who has opened a stream, for as long as the stream lasts.

    Args:
        request: The request that opened it.
        person: Who has sent that.
        stopping: Set when the server stops.
        needs_fresh: Whether the stream also ends when the login ends by itself. A call goes on then: it was
            admitted at its start.

    Attributes:
        over: Set when the stream has to end: there is no such login any more, the server stops, or the proxy
            that authenticates people has to be asked again.
    """

    def __init__(
        self, request: Request, person: Person, stopping: asyncio.Event, *, needs_fresh: bool
    ) -> None:
        self.over = asyncio.Event()
        self._scope = request.scope
        self._identity: Identity = request.app.state.identity
        self._person = person
        self._stopping = stopping
        self._needs_fresh = needs_fresh
        self._until = time.monotonic() + self._identity.stream_s if needs_fresh else math.inf

    @property
    def is_signed_in(self) -> bool:
        """Whether the person is still signed in, with the same role."""
        found = self._identity.person_of_stream(self._scope, needs_fresh=self._needs_fresh)
        return found == self._person

    async def events(
        self, make: Callable[[asyncio.Event], AsyncIterator[bytes]], last: bytes
    ) -> AsyncIterator[bytes]:
        """Yield the events of a stream while the person is signed in.

        Args:
            make: Returns the stream; it ends when the event that it gets is set.
            last: What a stream says at last whose person is no longer signed in.
        """
        watching = asyncio.create_task(self._watch(), name="login of a stream")
        try:
            async for chunk in make(self.over):
                if self.over.is_set():
                    break
                yield chunk
            if self.over.is_set() and not self.is_signed_in:
                yield last
        finally:
            watching.cancel()

    async def _watch(self) -> None:
        while self.is_signed_in and time.monotonic() < self._until:
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_S):
                    await self._stopping.wait()
                break
        self.over.set()
