"""Read what is left of a request before its connection is closed.

An operating system resets a connection that is closed with bytes unread, and the reset may overtake the
response (RFC 9112, section 9.6). An application that refuses a large body answers before it has read all of it.
"""

import asyncio
import contextlib
from typing import Final

from starlette.types import Message, Receive, Scope, Send

LINGER_S: Final = 5.0
"""Seconds for the rest. The peer stops to send once it has read the response; nginx waits as long
(``lingering_timeout``)."""


def with_body_read(scope: Scope, receive: Receive, send: Send) -> tuple[Receive, Send]:
    """Return `receive` and `send`; the last message of a response waits for the end of the request's body.

    Args:
        scope: The ASGI scope of an HTTP request.
        receive: The ASGI function that receives its body.
        send: The ASGI function that sends the response.
    """
    # A client that expects 100 has not sent its body, and must not get a 100 within the response.
    is_read = any(name == b"expect" for name, _ in scope["headers"])

    async def receive_noting_end() -> Message:
        nonlocal is_read
        message = await receive()
        is_read = is_read or not message.get("more_body", False)
        return message

    async def send_last_after_body(message: Message) -> None:
        is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if is_last and not is_read:
            await send({**message, "more_body": True})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LINGER_S):
                    while not is_read:
                        await receive_noting_end()
            message = {"type": "http.response.body", "body": b""}
        await send(message)

    return receive_noting_end, send_last_after_body
