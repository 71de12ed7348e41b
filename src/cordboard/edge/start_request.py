"""A client's request to start a session: the JSON of Pipecat's clients, and the sender."""

import json
import os
import time
from dataclasses import dataclass, field
from typing import Any, Final

from fastapi import Request

from cordboard.context import EMPTY, adopt
from cordboard.context.carrier import extract_headers
from cordboard.contract.errors import CordboardError, InvalidValueError
from cordboard.contract.ids import check_session_id, uuid7
from cordboard.edge.access import Access
from cordboard.edge.middleware import bot_of_path
from cordboard.edge.sessions import JoinRequest
from cordboard.web.strict_body import why_not_encodable

CARRIERS: Final = ("twilio", "telnyx", "plivo", "exotel")
TRANSPORTS: Final = ("webrtc", "daily", "livekit", "websocket", *CARRIERS)
"""The transports of ``POST /start`` that this edge serves, by Pipecat's names."""


class UnknownTransportError(CordboardError):
    """The transport is not one that the edge serves, or it is not configured."""

    status = 400
    code = "unknown_transport"
    title = "Transport not available"


@dataclass(frozen=True, slots=True)
class Start:
    """A start of a session by a client.

    Attributes:
        session_id: The session.
        bot: The bot's name.
        transport: One of `TRANSPORTS`.
        user_id: The user, if a server with the control secret names one.
        user_name: The user's display name, likewise.
        body: What the bot receives as ``runner_args.body``.
        client_address: The address of a client whose live sessions the gateway limits.
        options: The complete request, for the options of one transport.
    """

    session_id: str
    bot: str
    transport: str
    user_id: str | None = None
    user_name: str | None = None
    body: dict[str, Any] = field(default_factory=dict)
    client_address: str | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def join_request(self, room_url: str, token: str | None = None) -> JoinRequest:
        """Return the join of a room for this start.

        Args:
            room_url: The room, in canonical form.
            token: The bot's token for the room; None if it needs none, or the runner makes it.
        """
        return JoinRequest(
            session_id=self.session_id,
            room_url=room_url,
            bot=self.bot,
            user_id=self.user_id,
            user_name=self.user_name,
            body=self.body,
            token=token,
        )


def parse_object(content: bytes) -> dict[str, Any]:
    """Return the JSON object in a body; an empty one if there is none, as Pipecat's runner does.

    Args:
        content: The body, from any client.
    """
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def read_start(
    request: Request,
    access: Access,
    data: dict[str, Any],
    transport: object = None,
) -> Start:
    """Return the start that a request describes, and bind its session.

    Args:
        request: The request. Its path may name the bot; its headers may name the session, and the user if
            the caller has the control secret.
        access: What the caller may do.
        data: The JSON object in the body. Unknown keys are ignored.
        transport: The transport, if the call has only one; else the body names it.

    Raises:
        UnknownTransportError: There is no such transport.
        InvalidValueError: A value is invalid, or cannot be forwarded to a bot.
        UnauthorizedError: The caller may not use that bot.
    """
    name = access.bot_of(bot_of_path(request.scope))
    claims = extract_headers(request.scope["headers"]).context
    # Bound before anything else can fail, so that also the lines of a refusal have the session.
    session_id = _session_id(data.get("sessionId") or claims.session_id)
    adopt(session_id=session_id)
    user = claims if access.is_control else EMPTY
    return Start(
        session_id=session_id,
        bot=name,
        transport=_transport(data if transport is None else {"transport": transport}),
        user_id=user.user_id,
        user_name=user.user_name,
        body=json_object(data, "body"),
        client_address=access.client_address,
        options=data,
    )


def _session_id(value: object) -> str:
    if value is None:
        return uuid7(time.time_ns() // 1_000_000, os.urandom(10))
    return check_session_id(value)


def _transport(data: dict[str, Any]) -> str:
    """Return the transport of a start, by the rules of Pipecat's runner."""
    transport = data.get("transport")
    if transport is None:
        transport = "daily" if data.get("createDailyRoom") else "webrtc"
    if transport not in TRANSPORTS:
        raise UnknownTransportError(
            f"Unknown transport {str(transport)[:40]!a}.",
            hint=f"Use one of {', '.join(TRANSPORTS)}.",
        )
    return str(transport)


def json_object(data: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the object of a request's field; an empty one if the field is absent.

    Args:
        data: The request.
        name: The field.

    Raises:
        InvalidValueError: It is not an object, or its values cannot be forwarded to a bot.
    """
    value = data.get(name)
    if value is None:
        return {}
    reason = "expected an object" if not isinstance(value, dict) else why_not_encodable(value)
    if reason:
        raise InvalidValueError(f"{name}: {reason}.", extra={"field": name})
    return dict(value)
