"""Copy bytes between a TLS connection, which this process decrypts, and a bot process."""

import asyncio
import socket
from typing import Final, Self, cast

from cordboard.contract.errors import NotReadyError
from cordboard.runner.bot_session import BotSession
from cordboard.runner.passed_sockets import send_connection

# Bytes that wait for a side that does not read; then the other side is not read either. A second of telephone
# audio in both directions is 30 KB.
_BUFFER_BYTES: Final = 64 * 1024
# How long what is left may take to reach a process that has a reader for it, which takes milliseconds.
_FLUSH_S: Final = 1.0


class TlsRelay(asyncio.Protocol):
    """The bot process's side of a decrypted connection.

    Args:
        peer: The transport of the TLS connection.
    """

    def __init__(self, peer: asyncio.Transport) -> None:
        self._peer = peer
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def to_bot(cls, peer: asyncio.Transport, session: BotSession, received: bytes) -> Self:
        """Return a relay between `peer` and the bot process of `session`.

        Args:
            peer: The transport of the TLS connection.
            session: The session.
            received: What has been read of the connection.

        Raises:
            ConflictError: The bot process has ended.
            NotReadyError: It takes no connections at the moment.
        """
        try:
            own_end, bot_end = socket.socketpair()
        except OSError as error:  # too many descriptors
            raise NotReadyError("The connection cannot be passed.", retry_after_s=1) from error
        try:
            own_end.setblocking(False)
            send_connection(session.connections, bot_end.fileno(), received)
        except BaseException:
            own_end.close()
            raise
        finally:
            bot_end.close()
        loop = asyncio.get_running_loop()
        _, relay = await loop.create_connection(lambda: cls(peer), sock=own_end)
        peer.set_write_buffer_limits(_BUFFER_BYTES)
        return relay

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport of the bot process's side.

        Args:
            transport: The transport.
        """
        # Not checked with isinstance: uvloop's transports derive from none of asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(_BUFFER_BYTES)

    def data_received(self, data: bytes) -> None:
        """Send `data` of the bot process to the peer."""
        self._peer.write(data)

    def connection_lost(self, _exc: Exception | None) -> None:
        """Close the TLS connection, after what has been written to it is sent."""
        self._peer.close()

    def pause_writing(self) -> None:
        """Stop to read from the peer while the bot process does not read."""
        self._peer.pause_reading()

    def resume_writing(self) -> None:
        """Read from the peer again."""
        if not self._peer.is_closing():
            self._peer.resume_reading()

    def write(self, data: bytes) -> None:
        """Send `data` of the peer to the bot process."""
        if self._transport is not None:
            self._transport.write(data)

    def pause_reading(self) -> None:
        """Stop to read from the bot process."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read from the bot process again."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        """Close the bot process's side, after what has been written to it is sent, or after a limited time."""
        if self._transport is not None:
            self._transport.close()
            asyncio.get_running_loop().call_later(_FLUSH_S, self._transport.abort)
