"""Detects that the terminal of ``up`` was closed, where no signal reports it."""

import asyncio
import select
from typing import Final

# Nobody sees the terminal any more, so half a second is early enough.
POLL_S: Final = 0.5


async def wait_for_hangup(terminal: int) -> None:
    """Return when the terminal has been closed.

    Usually SIGHUP comes first. If make leads the terminal's session (``ssh -t HOST make up``), only
    make gets the signal, and it waits for its children without signalling them.

    Args:
        terminal: A file descriptor of the terminal.
    """
    poll = select.poll()
    poll.register(terminal, 0)  # POLLHUP is always reported
    # Polling, since epoll, which the event loop uses, does not report a hang-up of a terminal.
    while True:
        if poll.poll(0):
            return
        await asyncio.sleep(POLL_S)
