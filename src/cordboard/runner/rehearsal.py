"""Do once, before the fork, what each bot process would otherwise do for the first time.

The first stream of a process compiles patterns, fills the caches of abstract classes, and lets Python specialize the
byte code that serves it. A bot process that is forked afterwards finds that done, and writes to fewer of the pages
that it shares with the other bots.
"""

import asyncio
import socket
from typing import Final

from starlette.types import Receive, Scope, Send

from cordboard.context import Context
from cordboard.context.carrier import inject_environment
from cordboard.runner.bot_server import BotServer
from cordboard.runner.passed_sockets import send_connection

# The handshake of RFC 6455, section 1.3.
_HANDSHAKE: Final = (
    b"GET /sessions/rehearsal/bot/stream HTTP/1.1\r\n"
    b"Host: localhost\r\n"
    b"Authorization: Bearer rehearsal\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n"
)
_ANSWER_MAX_BYTES: Final = 4096  # it has about 150 bytes
_CLOSE_S: Final = 1.0  # both ends of the connection are in this process


def rehearse() -> bytes:
    """Set the environment of a session, and accept a stream; return the answer to its handshake."""
    inject_environment(Context(session_id="rehearsal"), {})
    return asyncio.run(_serve_stream())


async def _serve_stream() -> bytes:
    runner_end, bot_end = socket.socketpair()
    client, connection = socket.socketpair()
    with runner_end, bot_end, client:
        for end in (runner_end, client):
            end.setblocking(False)
        server = BotServer(bot_end, lambda: _accept)
        server.start()
        with connection:  # the server gets a copy
            send_connection(runner_end, connection.fileno(), _HANDSHAKE)
        answer = await asyncio.get_running_loop().sock_recv(client, _ANSWER_MAX_BYTES)
        client.close()
        server.stop()
        await server.wait_until_closed(_CLOSE_S)
        return answer


async def _accept(_scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    await receive()  # the end
