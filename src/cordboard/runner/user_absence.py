"""Whether a caller is connected in a webrtc: room."""

import asyncio
import time
from typing import Any, Final

_LOOK_S: Final = 1.0


async def wait_until_absent(connection: Any, seconds: float) -> None:
    """Return when a peer connection has been disconnected for a number of seconds.

    A peer that vanishes is noticed by the missing answers to ICE's consent checks,
    after 30 s (aioice); from then on the time counts. A connection that is made anew in it is the
    same object.

    Args:
        connection: The first connection of the session, Pipecat's.
        seconds: How long.
    """
    seen_at = time.monotonic()
    while time.monotonic() - seen_at < seconds:
        await asyncio.sleep(min(_LOOK_S, seconds / 4))
        if connection.pc.connectionState == "connected":
            seen_at = time.monotonic()
