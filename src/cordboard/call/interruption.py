"""Interruptions of a call: when the bot was not heard, why, and which bot came back."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

from cordboard.emit import get_logger

Sign = Literal["ice", "event", "silence"]
"""The first sign of a break: the connection ended or failed, the session's state says that its bot has gone, or no
packet arrived."""

SIGN_MEANINGS: Final[dict[Sign, str]] = {
    "ice": "the connection to the bot ended",
    "event": "the session's bot has gone",
    "silence": "no packets arrive from the bot",
}

log = get_logger("call")


@dataclass(frozen=True, slots=True)
class Interruption:
    """One interruption.

    Attributes:
        sign: Its first sign.
        epoch: The epoch of the bot that was heard last.
        ms: Milliseconds from the start of the call to the last packet of that bot.
        new_epoch: The epoch of the bot that came back, which may be the same; None if none did.
        silence_ms: Milliseconds from the last packet to the first one of the bot that came back; None if none did.
    """

    sign: Sign
    epoch: int
    ms: float
    new_epoch: int | None = None
    silence_ms: int | None = None


class Interruptions:
    """The interruptions of one call. Each is logged and reported when it begins, and when it ends.

    Args:
        began_at: When the call began, by the monotonic clock.
        on_change: Called with an interruption when it begins and when it ends.

    Attributes:
        all: The interruptions so far; the last one may still last.
        replaced_at: When another bot was heard first, by the monotonic clock; 0 if the first one still is.
    """

    def __init__(self, began_at: float, on_change: Callable[[Interruption], None]) -> None:
        self.all: list[Interruption] = []
        self.replaced_at = 0.0
        self._began_at = began_at
        self._on_change = on_change
        self._last_packet_at = 0.0
        self._closed = asyncio.Event()
        self._closed.set()

    @property
    def is_open(self) -> bool:
        """Whether the call is interrupted now."""
        return bool(self.all) and self.all[-1].new_epoch is None

    async def until_closed(self) -> None:
        """Wait until the call is not interrupted."""
        await self._closed.wait()

    def begin(self, sign: Sign, epoch: int, last_packet_at: float) -> None:
        """Record that the bot of ``epoch`` was last heard at ``last_packet_at``, a monotonic time."""
        self._last_packet_at = last_packet_at
        self._closed.clear()
        ms = (last_packet_at - self._began_at) * 1000
        self.all.append(Interruption(sign, epoch, round(ms, 1)))
        log.warning("Call interrupted", event="call.interrupted", sign=sign, epoch=epoch)
        self._on_change(self.all[-1])

    def end(self, epoch: int) -> None:
        """Record that the bot of ``epoch`` is heard now."""
        now = time.monotonic()
        if epoch != self.all[-1].epoch:
            self.replaced_at = now
        silence_ms = round((now - self._last_packet_at) * 1000)
        self.all[-1] = replace(self.all[-1], new_epoch=epoch, silence_ms=silence_ms)
        log.info("Call resumed", event="call.resumed", epoch=epoch, silence_ms=silence_ms)
        self._closed.set()
        self._on_change(self.all[-1])

    def withdraw(self) -> None:
        """Forget the interruption that lasts: it was the call's end."""
        if self.is_open:
            self.all.pop()
            self._closed.set()
