"""Impairment of one call's network, between `cordboard call` and its sockets: aioice's datagrams of this process.

A context variable selects the impairment, because the sockets of a call belong to its tasks.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from aioice.ice import StunProtocol

_RTP = range(128, 192)  # the first byte of RTP and RTCP, RFC 7983
_RTCP = range(192, 224)  # the second byte of RTCP, RFC 5761


@dataclass
class Impairment:
    """What happens to the datagrams of one call.

    Attributes:
        loss_in: The share of media packets from the bot that are lost.
        loss_out: The share of those to the bot.
        jitter_s: Media packets are delayed by up to so many seconds, each by another time.
        is_blocked: Whether no datagram passes at all.
    """

    loss_in: float = 0.0
    loss_out: float = 0.0
    jitter_s: float = 0.0
    is_blocked: bool = False

    def pass_on(self, data: bytes, loss: float, deliver: Callable[[], None]) -> None:
        """Deliver a datagram, late or never."""
        if self.is_blocked:
            return
        if len(data) < 2 or data[0] not in _RTP or data[1] in _RTCP:
            deliver()
        elif random.random() >= loss:
            if self.jitter_s:
                asyncio.get_running_loop().call_later(random.random() * self.jitter_s, deliver)
            else:
                deliver()


_present: ContextVar[Impairment | None] = ContextVar("impairment", default=None)


@contextlib.contextmanager
def impaired(impairment: Impairment | None) -> Iterator[None]:
    """Impair the calls that begin inside the block."""
    token = _present.set(impairment)
    try:
        yield
    finally:
        _present.reset(token)


def _send(transport: Any, data: bytes, addr: tuple[str, int]) -> None:
    if not transport.is_closing():  # the call may have ended meanwhile
        transport.sendto(data, addr)


def install() -> None:
    """Let all datagrams of this process pass through the impairment of their call."""
    receive, send_data, send_stun = (
        StunProtocol.datagram_received,
        StunProtocol.send_data,
        StunProtocol.send_stun,
    )

    def received(self: Any, data: bytes, addr: tuple[Any, ...]) -> None:
        found = _present.get()
        if found is None:
            receive(self, data, addr)
        else:
            found.pass_on(data, found.loss_in, lambda: receive(self, data, addr))

    async def sent(self: Any, data: bytes, addr: tuple[str, int]) -> None:
        found = _present.get()
        if found is None:
            await send_data(self, data, addr)
        else:
            found.pass_on(data, found.loss_out, lambda: _send(self.transport, data, addr))

    def stun_sent(self: Any, message: Any, addr: tuple[str, int]) -> None:
        found = _present.get()
        if found is None or not found.is_blocked:
            send_stun(self, message, addr)

    StunProtocol.datagram_received = received  # type: ignore[method-assign, assignment]
    StunProtocol.send_data = sent  # type: ignore[method-assign]
    StunProtocol.send_stun = stun_sent  # type: ignore[method-assign]
