"""Responses with server-sent events."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final

import aiohttp
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

_HEADERS: Final = {
    "Cache-Control": "no-store",
    # nginx and similar proxies otherwise delay a stream until their buffer is full.
    "X-Accel-Buffering": "no",
}


class EventStream(StreamingResponse):
    """A response that streams events and calls ``on_end`` once, even if the stream never starts.

    Args:
        content: The encoded events.
        on_end: Called when the stream is over.
        headers: Additional headers.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        content: AsyncIterator[bytes],
        on_end: Callable[[], None],
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(content, headers={**_HEADERS, **(headers or {})})
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""
        # Not in the generator: its `finally` does not run if the client leaves before the first event.
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_end()


async def read_until(stopping: asyncio.Task[bool], stream: aiohttp.StreamReader) -> bytes:
    """Return the next bytes of a stream; no bytes at its end, or when the server stops.

    Args:
        stopping: Done when the server stops: an open page must not delay that.
        stream: The body of an answer.
    """
    reading = asyncio.create_task(stream.readany())
    try:
        await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return reading.result() if reading.done() else b""
    finally:
        reading.cancel()
