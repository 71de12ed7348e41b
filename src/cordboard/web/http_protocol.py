"""HTTP/1.1 with limits: on a request's head, on the time in which it arrives, on connections.

uvicorn's parser accepts a header of any size, and waits for one for any time. These limits apply
before all else, because a connection costs memory and a descriptor before it sends a request.
"""

import asyncio
import functools
import json
import logging
import resource
from http import HTTPStatus
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from cordboard.emit import get_logger
from cordboard.web.rate_limits import Sampler

HEAD_MAX_BYTES: Final = 32 * 1024
"""As large as Node's and nginx's bounds together; ours with a trace and a cookie have about 2 KB."""
HEAD_MAX_S: Final = 10.0
"""A head is one packet; a telephone with a bad connection needs seconds."""
BODY_MAX_S: Final = 30.0
"""64 KB, at the 20 kbit/s of a bad mobile network."""
CONNECTIONS_MAX: Final = 4096
"""One takes about 20 KB. Most systems give a process fewer descriptors: then that is the bound."""
_SPARE_DESCRIPTORS: Final = 100  # for Redis, for runners, for files
_PIECE_BYTES: Final = 16 * 1024  # how exactly a head is counted; its last piece is not

log = get_logger("http")
_sampler = Sampler()
_strange = Sampler()


class _FewOfStrangers(logging.Filter):
    """Passes a few of those lines of uvicorn that any stranger can cause without a secret."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a line is written."""
        known = str(record.msg).startswith(("Invalid HTTP", "Unsupported upgrade", "No supported"))
        return not known or _strange.admit() is not None


logging.getLogger("uvicorn.error").addFilter(_FewOfStrangers())  # noqa: TID251 - uvicorn's


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._in_head = False
        self._in_body = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection, or close it if there are too many."""
        super().connection_made(transport)
        if len(self.connections) > _connections_max():
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections")
            return
        self._await(HEAD_MAX_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go."""
        self._rest()
        self._rearm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, and count what belongs to a head that is not complete."""
        for start in range(0, len(data), _PIECE_BYTES):
            piece = data[start : start + _PIECE_BYTES] if len(data) > _PIECE_BYTES else data
            super().data_received(piece)
            if self.transport.is_closing():
                return
            if self._in_head:
                self._head_bytes += len(piece)
                self._check_head()
        if self._idle and self._deadline is None:  # bytes that begin no request
            self._await(HEAD_MAX_S)

    @property
    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def on_message_begin(self) -> None:
        """Begin to count a head."""
        super().on_message_begin()
        self._head_bytes, self._in_head = 0, True
        self._await(HEAD_MAX_S)

    def on_headers_complete(self) -> None:
        """Serve the request, and wait for its body."""
        if self.transport.is_closing():
            return
        self._in_head, self._in_body = False, True
        super().on_headers_complete()
        self._await(BODY_MAX_S)

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        if self._in_body:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Wait for nothing more, while the request is served."""
        if self._in_body:
            super().on_message_complete()
        self._in_body = False
        self._rest()

    def _check_head(self) -> None:
        if self._head_bytes >= HEAD_MAX_BYTES:
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            self._refuse(status, f"the request's head is over {HEAD_MAX_BYTES} bytes")

    def _await(self, seconds: float) -> None:
        """Give up the connection after so long. The timer runs on: one a request would cost more."""
        self._deadline = self.loop.time() + seconds
        if self._timer is None or self._timer.when() > self._deadline:
            self._rearm()

    def _rearm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._deadline is not None:
            self._timer = self.loop.call_at(self._deadline, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._deadline is not None and self._deadline <= self.loop.time():
            self._late()
        else:
            self._rearm()

    def _rest(self) -> None:
        self._deadline = None

    def _late(self) -> None:
        self._deadline = None
        if self._in_head or self._in_body:
            what = "body" if self._in_body else "head"
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"the request's {what} did not arrive in time")
        else:
            self.transport.close()

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        """Say why, unless another answer is under way, and close."""
        if self.transport.is_closing():
            return
        silent = self.cycle.response_started if self._in_body else not self._idle
        if not silent:
            self.transport.write(_answer(status, why))
        self._in_body = False
        self._rest()
        self._tell(status, why)
        self.transport.close()

    def _tell(self, status: HTTPStatus, why: str) -> None:
        held = _sampler.admit()
        if held is not None:
            peer = self.client[0] if self.client else None
            log.warning(
                "A connection was closed", status=int(status), why=why, peer=peer, not_told=held
            )


@functools.cache
def _connections_max() -> int:
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CONNECTIONS_MAX if most < 0 else max(min(CONNECTIONS_MAX, most - _SPARE_DESCRIPTORS), 1)


def _answer(status: HTTPStatus, why: str) -> bytes:
    code = status.phrase.lower().replace(" ", "_")
    problem = {"type": "about:blank", "title": status.phrase, "status": int(status), "code": code}
    body = json.dumps({**problem, "detail": f"{why[0].upper()}{why[1:]}."}).encode()
    head = (
        f"HTTP/1.1 {int(status)} {status.phrase}\r\nContent-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
