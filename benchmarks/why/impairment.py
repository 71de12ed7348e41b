"""Impairment of one call's network, between `cordboard call` and its sockets: aioice's datagrams of this process.

A context variable selects the impairment, because the sockets of a call belong to its tasks.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from aioice.ice import StunProtocol
from why.arrivals import Arrivals

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
        counts: How many packets came by, and how many of them were dropped, by direction.
        delays: How late the last packet was, in seconds, by direction.
        differences: The sums of the differences between the delays of packets that follow each other.
        arrivals: What arrived from the bot, before any of it is dropped or delayed here.
    """

    loss_in: float = 0.0
    loss_out: float = 0.0
    jitter_s: float = 0.0
    is_blocked: bool = False
    counts: dict[str, int] = field(default_factory=dict)
    delays: dict[str, float] = field(default_factory=dict)
    differences: dict[str, float] = field(default_factory=lambda: {"in": 0.0, "out": 0.0})
    arrivals: Arrivals = field(default_factory=Arrivals)

    def count(self, what: str) -> None:
        """Count something that happened to a datagram."""
        self.counts[what] = self.counts.get(what, 0) + 1

    def pass_on(self, data: bytes, way: str, deliver: Callable[[], None]) -> None:
        """Deliver a datagram, late or never; ``way`` is ``in`` or ``out``."""
        if self.is_blocked:
            self.count("blocked")
            return
        if len(data) < 2 or data[0] not in _RTP or data[1] in _RTCP:
            deliver()
            return
        self.count(f"seen_{way}")
        if way == "in":
            self.arrivals.add(data)
        if random.random() < (self.loss_in if way == "in" else self.loss_out):
            self.count(f"lost_{way}")
        elif self.jitter_s:
            self._late(way, deliver)
        else:
            deliver()

    def _late(self, way: str, deliver: Callable[[], None]) -> None:
        begin = time.monotonic()
        delay_s = random.random() * self.jitter_s

        def arrive() -> None:
            took_s = time.monotonic() - begin
            self.differences[way] += abs(took_s - self.delays.get(way, took_s))
            self.delays[way] = took_s
            deliver()

        asyncio.get_running_loop().call_later(delay_s, arrive)

    def plan(self) -> dict[str, Any]:
        """Return what is planted."""
        names = ("loss_in", "loss_out", "jitter_s", "is_blocked")
        return {name: getattr(self, name) for name in names}

    def measured(self) -> dict[str, float]:
        """Return what passed and what did not, and the mean jitter that was planted, in milliseconds."""
        found: dict[str, float] = {**self.counts}
        for way in ("in", "out"):
            if passed := self.counts.get(f"seen_{way}", 0) - self.counts.get(f"lost_{way}", 0):
                found[f"jitter_{way}_ms"] = round(1000 * self.differences[way] / passed, 1)
        return found


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
            found.pass_on(data, "in", lambda: receive(self, data, addr))

    async def sent(self: Any, data: bytes, addr: tuple[str, int]) -> None:
        found = _present.get()
        if found is None:
            await send_data(self, data, addr)
        else:
            found.pass_on(data, "out", lambda: _send(self.transport, data, addr))

    def stun_sent(self: Any, message: Any, addr: tuple[str, int]) -> None:
        found = _present.get()
        if found is None or not found.is_blocked:
            send_stun(self, message, addr)
        else:
            found.count("blocked")

    StunProtocol.datagram_received = received  # type: ignore[method-assign, assignment]
    StunProtocol.send_data = sent  # type: ignore[method-assign]
    StunProtocol.send_stun = stun_sent  # type: ignore[method-assign]
