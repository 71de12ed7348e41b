"""The runner's HTTP connections: some of them are passed to bot processes.

A request to ``/sessions/{id}/bot/{path}`` is for the bot process. As soon as its head is complete, the
connection goes there, with what has been read of it, and this process closes its own descriptor: it never
sees a message of a WebSocket. All other requests are served here.
"""

import asyncio
from http import HTTPStatus
from typing import Any, ClassVar, Final, Self

from cordboard.contract.errors import CordboardError
from cordboard.contract.http_api import HEADER_FROM_RUNNER
from cordboard.runner.bot_access import BotAccess
from cordboard.runner.bot_request import is_bot_request, read_bot_request
from cordboard.runner.bot_session import BotSession
from cordboard.runner.passed_sockets import send_connection
from cordboard.runner.tls_relay import TlsRelay
from cordboard.web.http_protocol import BoundedProtocol
from cordboard.web.problems import problem

_HEAD_END: Final = b"\r\n\r\n"
# How long a refused peer may go on to send. A caller reads the refusal within a round trip.
_LINGER_S: Final = 1.0


class RunnerProtocol(BoundedProtocol):
    """One connection to a runner, with the limits of every server.

    Attributes:
        access: Decides about requests to bot processes.
    """

    access: ClassVar[BotAccess]

    @classmethod
    def with_access(cls, access: BotAccess) -> type[Self]:
        """Return this class with `access`. uvicorn creates the connections, so it takes a class."""
        return type(cls.__name__, (cls,), {"access": access})

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # The start of a request while it may be one to a bot process; later, what the relay has not sent yet.
        self._start = b""
        self._relay: TlsRelay | None = None
        self._relaying: asyncio.Task[None] | None = None
        self._is_passed = False
        self._is_refused = False

    def data_received(self, data: bytes) -> None:
        """Serve the bytes here, or keep them until the connection can be passed on.

        Args:
            data: The bytes.
        """
        if self._is_refused:
            return
        if self._relay is not None:
            self._relay.write(data)
        elif self._is_passed:
            self._start += data
        elif self._start or self._is_between_requests:
            self._start += data
            self._decide()
        else:
            super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the bot process's end as well.

        Args:
            exc: Why the connection was lost; None if it was closed.
        """
        if self._relay is not None:
            self._relay.close()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Stop to read from the bot process while the peer does not read."""
        if self._relay is not None:
            self._relay.pause_reading()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Read from the bot process again."""
        if self._relay is not None:
            self._relay.resume_reading()
        super().resume_writing()

    @property
    def _is_between_requests(self) -> bool:
        return self._is_idle and not self._in_head and not self._in_body

    def _decide(self) -> None:
        start = self._start
        is_for_bot = is_bot_request(start)
        if is_for_bot is False:
            self._start = b""
            self._in_head = False
            super().data_received(start)
            return
        end = start.find(_HEAD_END)
        if is_for_bot and 0 <= end < self.limits.head_bytes:
            self._pass_on(start[:end])
            return
        # As for every other head: it is limited in size, and in time from its first byte.
        if not self._in_head:
            self._in_head = True
            self._set_deadline(self.limits.head_s)
        self._head_bytes = len(start)
        self._check_head()

    def _pass_on(self, head: bytes) -> None:
        self._clear_deadline()
        received, self._start = self._start, b""
        try:
            session = self.access.session_of(
                read_bot_request(head), self.client[0] if self.client else None
            )
            self._is_passed = True
            self.transport.pause_reading()
            if self.transport.get_extra_info("ssl_object") is None:
                descriptor = self.transport.get_extra_info("socket").fileno()
                send_connection(session.connections, descriptor, received)
                self.transport.abort()  # closes this process's descriptor, not the connection
            else:
                self._relaying = self.loop.create_task(self._relay_to(session, received))
        except CordboardError as error:
            self._answer(error)

    async def _relay_to(self, session: BotSession, received: bytes) -> None:
        """Decrypt here: the state of a TLS connection cannot be passed to another process."""
        try:
            relay = await TlsRelay.to_bot(self.transport, session, received)
        except CordboardError as error:
            self._answer(error)
            return
        relay.write(self._start)
        self._relay = relay
        if self.transport.is_closing():
            relay.close()
        else:
            self.transport.resume_reading()

    def _answer(self, error: CordboardError) -> None:
        """Send `error`, and close the connection once the peer has had time to read it.

        Closed at once, it would be reset if the peer still sends a body (`cordboard.web.unread_body`).
        """
        response = problem(error)
        lines = [f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}".encode()]
        lines += [name + b": " + value for name, value in response.raw_headers]
        # A bot's own refusals may have the same form.
        lines.append(f"{HEADER_FROM_RUNNER}: true".encode())
        self.transport.write(
            b"\r\n".join([*lines, b"connection: close", b"", bytes(response.body)])
        )
        self._is_refused = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.transport.resume_reading()
        self.loop.call_later(_LINGER_S, self.transport.close)
