"""Notices that the terminal of `up` has been closed where no signal says so."""

import asyncio
import select
from typing import Final

LOOK_S: Final = 0.5


async def hung_up(terminal: int) -> None:
    """Return when the terminal has been closed.

    Usually SIGHUP comes first. If make leads the terminal's session (``ssh -t HOST make up``), make
    alone gets the signal, and waits for its children without telling them.

    Args:
        terminal: A descriptor of the terminal.
    """
    poll = select.poll()
    poll.register(terminal, 0)  # a hang-up is reported without being asked for
    while not poll.poll(0):  # noqa: ASYNC110 - the kernel reports it to no event loop
        await asyncio.sleep(LOOK_S)
