"""Streams of events: every change of a session's state, and the limits on open streams."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import msgspec

from cordboard.contract.state import TERMINAL
from cordboard.gateway.hub import Hub
from cordboard.gateway.schemas import iso
from cordboard.settings import Settings
from cordboard.store import RedisStore, SessionRecord
from cordboard.web.rate_limits import TooManyRequestsError

PING_S: Final = 15.0
RETRY_S: Final = 10


class StreamCounter:
    """Counts the open streams of one gateway.

    Args:
        settings: The bounds.
    """

    def __init__(self, settings: Settings) -> None:
        self._most = settings.streams_per_gateway
        self._most_of_one = settings.streams_per_session
        self._open: Counter[str] = Counter()

    def begin(self, session_id: str) -> Callable[[], None]:
        """Count one more; return a function that ends its count.

        Raises:
            TooManyRequestsError: The limit of this session, or of all sessions, is reached.
        """
        if self._open[session_id] >= self._most_of_one or self._open.total() >= self._most:
            raise TooManyRequestsError(
                "Too many streams of events are open.",
                hint="Request the session's record instead, or use another gateway.",
                retry_after_s=RETRY_S,
            )
        self._open[session_id] += 1
        return lambda: self._end(session_id)

    def _end(self, session_id: str) -> None:
        self._open[session_id] -= 1
        if not self._open[session_id]:
            del self._open[session_id]


async def changes(hub: Hub, store: RedisStore, session_id: str, room: str) -> AsyncIterator[bytes]:
    """Yield the session's state, and each change of it until it ends or we are to stop."""
    with hub.waiting(session_id) as waiter:
        record: SessionRecord = await store.session(session_id, room=room)
        seen = (record.epoch, record.state)
        yield _event(_snapshot(record))
        while seen[1] not in TERMINAL and not hub.draining:
            try:
                change = await asyncio.wait_for(waiter.get(), PING_S)
            except TimeoutError:
                yield b": still here\n\n"
                continue
            if change is None:
                record = await store.session(session_id, room=room)
                data, now = _snapshot(record), (record.epoch, record.state)
            else:
                data = {
                    "sessionId": session_id,
                    "status": change.state,
                    "epoch": change.epoch,
                    "attempt": change.attempt,
                    "reason": change.reason,
                    "at": iso(change.at_ms),
                }
                now = (change.epoch, change.state)
            if now != seen:
                seen = now
                yield _event(data)


def _snapshot(record: SessionRecord) -> dict[str, Any]:
    at = max(record.stages.values(), default=record.created_ms)
    return {
        "sessionId": record.session_id,
        "status": record.state,
        "epoch": record.epoch,
        "attempt": record.attempt,
        "reason": record.reason,
        "at": iso(at),
    }


def _event(data: dict[str, Any]) -> bytes:
    present = {name: value for name, value in data.items() if value is not None}
    return b"event: state\ndata: " + msgspec.json.encode(present) + b"\n\n"
