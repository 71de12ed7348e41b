"""Detect that no user is connected in a room."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

_POLL_S: Final = 1.0


async def wait_until_absent(is_connected: Callable[[], bool], seconds: float) -> None:
    """Return when no user has been connected for a number of seconds.

    Args:
        is_connected: Returns whether a user is connected.
        seconds: How long there must have been none.
    """
    connected_at = time.monotonic()
    while time.monotonic() - connected_at < seconds:
        # Polled: a restart of a peer connection removes the handlers of the old one.
        await asyncio.sleep(min(_POLL_S, seconds / 4))
        if is_connected():
            connected_at = time.monotonic()
