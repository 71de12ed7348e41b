"""What a caller knows of its session: the last change that the gateway's event stream has brought."""

import asyncio
import contextlib
import time
from typing import Any

from cordboard.call.gateway import CallGateway
from cordboard.contract.errors import CordboardError
from cordboard.contract.state import TERMINAL


class SessionState:
    """Follows a session until its end.

    Args:
        gateway: The gateway of the session.

    Attributes:
        last_change: The last change, as in the event stream; empty before the first one.
        is_current: Whether the event stream that is open has brought the state.
    """

    def __init__(self, gateway: CallGateway) -> None:
        self.last_change: dict[str, Any] = {}
        self.is_current = False
        self._gateway = gateway
        self._changed = asyncio.Event()
        self._stream: asyncio.Task[None] | None = None

    @property
    def epoch(self) -> int:
        """The epoch; it rises when another bot takes the session over."""
        return int(self.last_change.get("epoch", 0))

    @property
    def is_running(self) -> bool:
        """Whether a bot process holds the room."""
        return self.last_change.get("status") == "running"

    @property
    def is_final(self) -> bool:
        """Whether the session has ended."""
        return self.last_change.get("status") in TERMINAL

    async def follow(self) -> None:
        """Follow the session; return when it has ended.

        Raises:
            CordboardError: The gateway refuses to report the state.
        """
        try:
            while not self.is_final:
                self._stream = asyncio.create_task(self._read())
                # An event stream that `restart` has cancelled is opened again.
                await asyncio.wait({self._stream})
                if not self._stream.cancelled():
                    self._stream.result()
        finally:
            if self._stream is not None:
                self._stream.cancel()
                await asyncio.gather(self._stream, return_exceptions=True)

    def restart(self) -> None:
        """Open the event stream again: the first thing that it brings is the present state."""
        if self._stream is not None:
            self.is_current = False
            self._stream.cancel()

    async def until_running(self) -> None:
        """Wait until a bot process holds the room."""
        while not self.is_running:
            await self.wait()

    async def wait(self, timeout_s: float | None = None) -> None:
        """Wait for the next change, for at most ``timeout_s`` seconds."""
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()

    async def moves_on(self, epoch: int, timeout_s: float) -> bool:
        """Return whether the session leaves the bot of ``epoch`` for another one, within ``timeout_s`` seconds."""
        deadline = time.monotonic() + timeout_s
        while self.is_running and self.epoch <= epoch and time.monotonic() < deadline:
            await self.wait(deadline - time.monotonic())
        return not self.is_final and not (self.is_running and self.epoch <= epoch)

    async def ending(self) -> tuple[str, str]:
        """Return how the session ended, and a hint."""
        record = dict(self.last_change)
        with contextlib.suppress(CordboardError):
            record |= await self._gateway.record()
        why = ", ".join(str(record[name]) for name in ("reason", "detail") if record.get(name))
        return (
            f"The session has ended: {record.get('status')}{f' ({why})' if why else ''}.",
            "The command below prints its log lines.",
        )

    async def _read(self) -> None:
        async for change in self._gateway.states():
            self.last_change, self.is_current = change, True
            self._changed.set()
