"""Which carrier a stream comes from, and which call it carries, by its first two messages.

These are the rules of ``pipecat.runner.utils.parse_telephony_websocket``, with which the bot reads the same
messages. `tests/edge/test_edge_first_messages.py` compares both. Pipecat itself is no dependency of an edge.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

Message = str | bytes
"""A message of a websocket: text or binary."""

MESSAGES_MAX: Final = 2
"""Carriers send ``connected`` and ``start``, or ``start`` alone."""


@dataclass(frozen=True, slots=True)
class StartForm:
    """The form of a carrier's start message.

    Attributes:
        carrier: The carrier.
        call_id: The key of the call id in ``start``.
        start_keys: The other keys that ``start`` has.
        keys: The keys that the message has beside ``start``.
        is_event: Whether the message has ``"event": "start"``.
    """

    carrier: str
    call_id: str
    start_keys: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    is_event: bool = False


FORMS: Final = (
    StartForm("twilio", "callSid", start_keys=("streamSid",), is_event=True),
    StartForm("telnyx", "call_control_id", keys=("stream_id",)),
    StartForm("plivo", "callId", start_keys=("streamId",)),
    StartForm("exotel", "call_sid", start_keys=("stream_sid", "account_sid"), is_event=True),
)
"""The start messages that Pipecat recognises, in its order."""


@dataclass(frozen=True, slots=True)
class CarrierCall:
    """The call that a start message names.

    Attributes:
        carrier: The carrier.
        call_id: The carrier's id of the call.
    """

    carrier: str
    call_id: str


def call_of(message: Message) -> CarrierCall | None:
    """Return the call that `message` starts; None if it is not the start message of a carrier."""
    decoded = _decoded(message)
    start = decoded.get("start")
    if not isinstance(start, dict):
        return None
    for form in FORMS:
        is_complete = (
            (not form.is_event or decoded.get("event") == "start")
            and all(key in decoded for key in form.keys)
            and all(key in start for key in (form.call_id, *form.start_keys))
        )
        if is_complete:
            call_id = start[form.call_id]
            return CarrierCall(form.carrier, call_id if isinstance(call_id, str) else "")
    return None


def is_eval_connect(message: Message) -> bool:
    """Return whether `message` is the first one of Pipecat's eval harness."""
    decoded = _decoded(message)
    data = decoded.get("data")
    return (
        decoded.get("label") == "rtvi-ai"
        and decoded.get("type") == "client-message"
        and isinstance(data, dict)
        and data.get("t") == "eval-connect"
    )


def is_audio(message: Message) -> bool:
    """Return whether `message` carries audio: any binary one, and a carrier's ``media`` event.

    The text is searched, not parsed. Carriers' start messages have ``mediaFormat`` or ``media_format``, so the
    quotes make the difference.

    Args:
        message: Any message of a stream.
    """
    return isinstance(message, bytes) or '"media"' in message


def _decoded(message: Message) -> dict[str, Any]:
    if isinstance(message, bytes):  # carriers send text, and Pipecat reads no other
        return {}
    try:
        decoded = json.loads(message)
    except (ValueError, RecursionError):
        return {}
    return decoded if isinstance(decoded, dict) else {}
