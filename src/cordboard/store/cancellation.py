"""Keeps the cancellation of a task that is sending a command to Redis.

redis-py sends within ``asyncio.wait_for``. Before Python 3.12, ``wait_for`` loses a cancellation that arrives when the
command has just been sent: the task goes on, and whoever cancelled it waits for its end forever. A runner that stops
would then be killed at the end of its grace period (python/cpython#86296).
"""

import asyncio
import functools
import sys
from typing import Any

from redis.asyncio.connection import AbstractConnection


def keep_cancellations() -> None:
    """Let connections of redis-py raise a cancellation that ``wait_for`` has lost; does so once."""
    send = AbstractConnection.send_packed_command
    if sys.version_info >= (3, 12) or hasattr(send, "__wrapped__"):
        return

    @functools.wraps(send)
    async def send_packed_command(self: AbstractConnection, *args: Any, **options: Any) -> None:
        task = asyncio.current_task()
        before = task.cancelling() if task is not None else 0
        await send(self, *args, **options)
        if task is not None and task.cancelling() > before:
            # As redis-py does at any error: nobody will read the reply, which is not that of the next command.
            await self.disconnect(nowait=True)
            raise asyncio.CancelledError

    AbstractConnection.send_packed_command = send_packed_command  # type: ignore[method-assign]
