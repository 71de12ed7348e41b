"""The event stream of a session: its state changes, and limits on open streams."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import msgspec

from cordboard.contract.state import TERMINAL
from cordboard.gateway.hub import Hub
from cordboard.gateway.schemas import rfc3339
from cordboard.settings import Settings
from cordboard.store import SessionRecord, SessionStore, StateChange
from cordboard.web.rate_limits import TooManyRequestsError

# Shorter than the idle timeout of common proxies and load balancers, which is 30 s to 60 s.
PING_S: Final = 15.0
RETRY_S: Final = 10


class StreamCounter:
    """Counts the open event streams of one gateway.

    Args:
        settings: The limits, by gateway and by session.
    """

    def __init__(self, settings: Settings) -> None:
        self._limit = settings.streams_per_gateway
        self._session_limit = settings.streams_per_session
        self._open: Counter[str] = Counter()

    def begin(self, session_id: str) -> Callable[[], None]:
        """Count one more stream of `session_id`; return a function that ends its count.

        Raises:
            TooManyRequestsError: The limit of this session, or of the gateway, is reached.
        """
        if self._open[session_id] >= self._session_limit or self._open.total() >= self._limit:
            raise TooManyRequestsError(
                "Too many event streams are open.",
                hint="Request the session's record instead, or use another gateway.",
                retry_after_s=RETRY_S,
            )
        self._open[session_id] += 1
        return lambda: self._end(session_id)

    def _end(self, session_id: str) -> None:
        self._open[session_id] -= 1
        if not self._open[session_id]:
            del self._open[session_id]


async def state_events(
    hub: Hub, store: SessionStore, session_id: str, room: str
) -> AsyncIterator[bytes]:
    """Yield a session's state as server-sent events, until it is final or the gateway stops.

    Args:
        hub: Distributes the state changes.
        store: The session store.
        session_id: The session.
        room: The session's room.
    """
    # Subscribed before the record is read, so that no change between the two is lost.
    with hub.subscribed(session_id) as waiter:
        record = await store.session(session_id, room=room)
        sent = (record.epoch, record.state)
        yield _event(_from_record(record))
        while sent[1] not in TERMINAL and not hub.is_draining:
            try:
                async with asyncio.timeout(PING_S):
                    change = await waiter.get()
            except TimeoutError:
                yield b": still here\n\n"  # a comment, which keeps proxies from closing the connection
                continue
            if change is None:
                record = await store.session(session_id, room=room)
                data, state = _from_record(record), (record.epoch, record.state)
            else:
                data, state = _from_change(change), (change.epoch, change.state)
            # After a reconnection the record may repeat what was sent before.
            if state != sent:
                sent = state
                yield _event(data)


def _from_record(record: SessionRecord) -> dict[str, Any]:
    at_ms = max(record.stages.values(), default=record.created_ms)
    return {
        "sessionId": record.session_id,
        "status": record.state,
        "epoch": record.epoch,
        "attempt": record.attempt,
        "reason": record.reason,
        "at": rfc3339(at_ms),
    }


def _from_change(change: StateChange) -> dict[str, Any]:
    return {
        "sessionId": change.session_id,
        "status": change.state,
        "epoch": change.epoch,
        "attempt": change.attempt,
        "reason": change.reason,
        "at": rfc3339(change.at_ms),
    }


def _event(data: dict[str, Any]) -> bytes:
    present = {name: value for name, value in data.items() if value is not None}
    return b"event: state\ndata: " + msgspec.json.encode(present) + b"\n\n"
