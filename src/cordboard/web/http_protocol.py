"""HTTP/1.1 with limits on the size of request heads, on slow requests, and on connections.

uvicorn's parser accepts headers of any size and waits for them without a timeout. These limits apply
before everything else, because a connection costs memory and a file descriptor before it sends a
request.
"""

import asyncio
import json
import logging
import resource
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar, Final, Self

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from cordboard.emit import get_logger
from cordboard.web.rate_limits import Sampler

CONNECTIONS_MAX: Final = 4096
"""A connection takes about 20 KB, so these take 80 MB."""
_SPARE_DESCRIPTORS: Final = 100  # for Redis, runners and files
# A head is counted in pieces of this size, without its last one. Larger pieces make the limit less exact,
# smaller ones cost more calls for each body.
_PIECE_BYTES: Final = 16 * 1024
_RETRY_AFTER_S: Final = 1

log = get_logger("http")


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits of a server's connections.

    Attributes:
        head_bytes: The largest request head. As much as Node's and nginx's limits together; a head with a
            trace and a login cookie has about 2 KB.
        head_s: Seconds in which a head must arrive. A head is one packet; a telephone with a bad
            connection needs seconds.
        body_s: Seconds in which a body must arrive: 64 KB at the 20 kbit/s of a bad mobile network.
        connections: Open connections at the same time.
    """

    head_bytes: int = 32 * 1024
    head_s: float = 10.0
    body_s: float = 30.0
    connections: int = CONNECTIONS_MAX

    @classmethod
    def of_this_process(cls) -> Self:
        """Return the default limits, with as many connections as this process has descriptors for."""
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return cls(connections=connections_for(descriptors))


def connections_for(descriptors: int) -> int:
    """Return how many connections a process accepts.

    Args:
        descriptors: How many file descriptors the process may open; negative for no limit.
    """
    if descriptors < 0:
        return CONNECTIONS_MAX
    return max(min(CONNECTIONS_MAX, descriptors - _SPARE_DESCRIPTORS), 1)


class MalformedRequestFilter(logging.Filter):
    """Samples the log lines of uvicorn that any stranger can cause without a secret.

    Attributes:
        sampler: Decides which of these lines are logged.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sampler = Sampler()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether `record` is logged."""
        prefixes = ("Invalid HTTP", "Invalid UTF-8", "Unsupported upgrade", "No supported")
        return not str(record.msg).startswith(prefixes) or self.sampler.admit() is not None


malformed_requests: Final = MalformedRequestFilter()


class BoundedProtocol(HttpToolsProtocol):
    """One connection with limits.

    Attributes:
        limits: The limits of all connections of a server.
        refusals: Samples the log lines about closed connections.
    """

    limits: ClassVar[ConnectionLimits] = ConnectionLimits()
    refusals: ClassVar[Sampler] = Sampler()

    @classmethod
    def with_limits(cls, limits: ConnectionLimits) -> type[Self]:
        """Return this class with other `limits`. uvicorn creates the connections, so it takes a class."""
        return type(cls.__name__, (cls,), {"limits": limits, "refusals": Sampler()})

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Adding a filter that a logger already has does nothing.
        self.logger.addFilter(malformed_requests)
        # None while a request is served, or when the connection has been refused.
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._in_head = False
        self._in_body = False
        self._is_upgraded = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection, or close it if there are too many.

        Args:
            transport: The connection.
        """
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections")
            return
        self._set_deadline(self.limits.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Release the timer of a closed connection.

        Args:
            exc: Why the connection was lost; None if it was closed.
        """
        self._clear_deadline()
        self._restart_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse received bytes, and count those of an incomplete head.

        Args:
            data: The bytes.
        """
        for start in range(0, len(data), _PIECE_BYTES):
            piece = data[start : start + _PIECE_BYTES] if len(data) > _PIECE_BYTES else data
            super().data_received(piece)
            if self.transport.is_closing() or self._is_upgraded:
                return
            if self._in_head:
                self._head_bytes += len(piece)
                self._check_head()
        # Bytes that do not begin a request, such as empty lines, must not keep a connection open.
        if self._is_idle and self._deadline is None:
            self._set_deadline(self.limits.head_s)

    @property
    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def on_message_begin(self) -> None:
        """Start to measure a head."""
        super().on_message_begin()
        self._head_bytes, self._in_head = 0, True
        self._set_deadline(self.limits.head_s)

    def on_headers_complete(self) -> None:
        """Start to serve the request, and wait for its body."""
        if self.transport.is_closing():
            return
        self._in_head, self._in_body = False, True
        super().on_headers_complete()
        self._set_deadline(self.limits.body_s)

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over to the protocol of WebSockets, which has its own limits."""
        self._is_upgraded = True
        self._clear_deadline()
        self._restart_timer()
        super().handle_websocket_upgrade()

    def on_body(self, body: bytes) -> None:
        """Pass on a part of a `body`, unless the request was refused."""
        if self._in_body:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop the timer: how long the response takes is not limited, as event streams stay open."""
        if self._in_body:
            super().on_message_complete()
        self._in_body = False
        self._clear_deadline()

    def _check_head(self) -> None:
        if self._head_bytes >= self.limits.head_bytes:
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            self._refuse(status, f"the request head is over {self.limits.head_bytes} bytes")

    def _set_deadline(self, seconds: float) -> None:
        """Close the connection after this time, unless the deadline is moved or cleared.

        A timer that expires too early is restarted for the rest of the time: cancelling and creating one
        per request would cost more.
        """
        self._deadline = self.loop.time() + seconds
        if self._timer is None or self._timer.when() > self._deadline:
            self._restart_timer()

    def _restart_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._deadline is not None:
            self._timer = self.loop.call_at(self._deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._deadline is not None and self._deadline <= self.loop.time():
            self._on_deadline()
        else:
            self._restart_timer()

    def _clear_deadline(self) -> None:
        self._deadline = None

    def _on_deadline(self) -> None:
        self._deadline = None
        if self._in_head or self._in_body:
            part = "body" if self._in_body else "head"
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"the request {part} did not arrive in time")
        else:
            self.transport.close()

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        """Send an error, unless a response has begun, and close the connection."""
        if self.transport.is_closing():
            return
        # A second response on the connection would be read as the answer to the next request.
        is_answering = self.cycle.response_started if self._in_body else not self._is_idle
        if not is_answering:
            self.transport.write(_error_response(status, reason))
        self._in_body = False
        self._clear_deadline()
        self._log_refusal(status, reason)
        self.transport.close()

    def _log_refusal(self, status: HTTPStatus, reason: str) -> None:
        suppressed = self.refusals.admit()
        if suppressed is not None:
            log.warning(
                "A connection was closed",
                status=int(status),
                reason=reason,
                peer=self.client[0] if self.client else None,
                suppressed=suppressed,
            )


def _error_response(status: HTTPStatus, reason: str) -> bytes:
    body = json.dumps(
        {
            "type": "about:blank",
            "title": status.phrase,
            "status": int(status),
            "code": status.phrase.lower().replace(" ", "_"),
            "detail": f"{reason[0].upper()}{reason[1:]}.",
        }
    ).encode()
    head = (
        f"HTTP/1.1 {int(status)} {status.phrase}\r\nContent-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\nRetry-After: {_RETRY_AFTER_S}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
