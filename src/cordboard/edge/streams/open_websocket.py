"""What a WebSocket without a token joins: the call that its first messages name, or a new session."""

import asyncio
import base64
import binascii
import json
import os
import time
from typing import Any, Final

from starlette.datastructures import QueryParams
from starlette.websockets import WebSocket

from cordboard.context.carrier import HEADER_SESSION_ID
from cordboard.contract.carrier_streams import MESSAGES_MAX, Message
from cordboard.contract.errors import (
    CordboardError,
    InvalidValueError,
    QueueFullError,
    TooManySessionsError,
)
from cordboard.contract.ids import is_bot_name, is_session_id, uuid7
from cordboard.edge.sessions import DEFAULT_BOT, EdgeSessions, JoinRequest
from cordboard.edge.streams import closing
from cordboard.edge.streams.bot_connection import StreamTarget
from cordboard.edge.streams.closing import StreamEnd, StreamRefusedError
from cordboard.edge.streams.first_messages import CarrierCall, call_of, is_eval_connect
from cordboard.edge.streams.limits import StreamLimits
from cordboard.web.strict_body import why_not_encodable

BODY_MAX_CHARS: Final = 4096
"""The length of ``?body=``, as at Pipecat Cloud."""


def join_of(websocket: WebSocket) -> JoinRequest:
    """Return the join of a WebSocket that names no call: a new session.

    Args:
        websocket: The WebSocket; its query may name a bot and hold a body.

    Raises:
        InvalidValueError: The query is invalid.
    """
    header = websocket.headers.get(HEADER_SESSION_ID)
    is_named = is_session_id(header)
    made = uuid7(time.time_ns() // 1_000_000, os.urandom(10))
    session_id = header if is_named and header is not None else made
    bot = websocket.query_params.get("bot", DEFAULT_BOT)
    if not is_bot_name(bot):
        raise InvalidValueError("Invalid bot.", hint="Use 1 to 64 of A-Z a-z 0-9 . _ -")
    return JoinRequest(
        session_id=session_id,
        room_url=f"ws:{session_id}",
        bot=bot,
        body=_body_of(websocket.query_params),
    )


def _body_of(query: QueryParams) -> dict[str, Any]:
    text = query.get("body", "")
    if not text:
        return {}
    hint = f"Use the base64 of a JSON object, up to {BODY_MAX_CHARS} characters."
    if len(text) > BODY_MAX_CHARS:
        raise InvalidValueError("The body in the query is too long.", hint=hint)
    # Both alphabets of base64 (RFC 4648) occur in URLs; a "+" that was not quoted arrives as a space.
    text = text.translate(str.maketrans(" -_", "++/")).rstrip("=")
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        body = json.loads(decoded)
    except (binascii.Error, ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise InvalidValueError("The body in the query is not a JSON object in base64.", hint=hint)
    if reason := why_not_encodable(body):
        raise InvalidValueError(f"The body in the query is invalid: {reason}.")
    return body


async def read_first_messages(
    websocket: WebSocket, limits: StreamLimits
) -> tuple[list[Message], CarrierCall | None]:
    """Return the messages that were read to learn the call, and the call; None if they name none.

    Args:
        websocket: The WebSocket, accepted.
        limits: The limits of size and time.

    Raises:
        StreamRefusedError: The client sends nothing, or too much, or has gone.
    """
    messages: list[Message] = []
    call = None
    try:
        async with asyncio.timeout(limits.first_message_s):
            while len(messages) < MESSAGES_MAX and call is None:
                message = await _receive(websocket, limits.first_message_bytes)
                messages.append(message)
                call = call_of(message)
                # Neither a carrier sends binary messages, nor the harness a second one at once.
                if isinstance(message, bytes) or is_eval_connect(message):
                    break
    except TimeoutError:
        if not messages:
            raise StreamRefusedError.with_code(
                closing.SILENT, "Expected a first message, got none in time."
            ) from None
    return messages, call


async def _receive(websocket: WebSocket, max_bytes: int) -> Message:
    received = await websocket.receive()
    if received["type"] == "websocket.disconnect":
        raise StreamRefusedError(StreamEnd("client", received.get("code", closing.NO_CODE)))
    text: str | None = received.get("text")
    message: Message = text if text is not None else received["bytes"]
    if len(message) > max_bytes:
        raise StreamRefusedError.with_code(
            closing.TOO_BIG, f"A first message may have {max_bytes} bytes."
        )
    return message


def join_of_call(join: JoinRequest, call: CarrierCall) -> JoinRequest:
    """Return the join of a carrier's call: its session has the id of the call.

    Args:
        join: The join of the WebSocket, with its bot and body.
        call: The call.

    Raises:
        StreamRefusedError: The id of the call is no session id.
    """
    if not is_session_id(call.call_id):
        raise StreamRefusedError.with_code(closing.POLICY, "The id of the call is invalid.")
    return JoinRequest(
        session_id=call.call_id,
        room_url=f"phone:{call.carrier}:{call.call_id}",
        bot=join.bot,
        body=join.body,
    )


async def joined(
    sessions: EdgeSessions, join: JoinRequest, *, address: str | None, detects_carrier: bool
) -> StreamTarget:
    """Accept a join; return the session to which the stream goes.

    Args:
        sessions: Accepts the join.
        join: The join.
        address: The client's address, whose live sessions the gateway limits; None for a carrier.
        detects_carrier: Whether the bot reads the carrier from the first messages.

    Raises:
        StreamRefusedError: The join was refused.
    """
    is_call = join.room_url.startswith("phone:")
    try:
        accepted = await sessions.join(join, client_address=None if is_call else address)
    except (QueueFullError, TooManySessionsError) as error:
        raise StreamRefusedError.with_code(closing.TRY_LATER, error.message) from error
    except CordboardError as error:
        code = closing.TRY_LATER if error.retryable else closing.POLICY
        raise StreamRefusedError.with_code(code, error.message) from error
    # A carrier opens a second stream of a call when the first one broke. The id in any other WebSocket is the
    # client's own choice, and must not open the session of another client.
    if accepted.is_reused and not is_call:
        raise StreamRefusedError.with_code(closing.POLICY, "The session id is in use.")
    return StreamTarget(accepted.session_id, join.room_url, detects_carrier=detects_carrier)
