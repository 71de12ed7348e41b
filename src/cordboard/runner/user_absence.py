"""Detect that no user is connected in a ``webrtc:`` room."""

import asyncio
import time
from typing import Any, Final

_POLL_S: Final = 1.0


async def wait_until_absent(connection: Any, seconds: float) -> None:
    """Return when the peer connection has been disconnected for a number of seconds.

    aioice takes 30 s of missing answers to its consent checks to notice a peer that vanished; the seconds
    count from then on. A connection that the user restarts stays the same object.

    Args:
        connection: The first connection of the session, Pipecat's.
        seconds: How long the connection must have been disconnected.
    """
    connected_at = time.monotonic()
    while time.monotonic() - connected_at < seconds:
        # Polled: a restart gives the connection another ``pc`` and removes the handlers of the old one.
        await asyncio.sleep(min(_POLL_S, seconds / 4))
        if connection.pc.connectionState == "connected":
            connected_at = time.monotonic()
