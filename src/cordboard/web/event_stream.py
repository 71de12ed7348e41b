"""Server-sent events as an answer."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

_HEADERS: Final = {
    "Cache-Control": "no-store",
    # nginx and similar proxies otherwise delay a stream until their buffer is full.
    "X-Accel-Buffering": "no",
}


class EventStream(StreamingResponse):
    """A stream of events that calls ``ended`` when it ends, also if it never began.

    Args:
        content: The events, encoded.
        ended: Called once, when the stream is over.
        headers: Further headers.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        content: AsyncIterator[bytes],
        ended: Callable[[], None],
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(content, headers={**_HEADERS, **(headers or {})})
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ended()
