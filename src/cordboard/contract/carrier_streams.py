"""The messages of carriers' streams that concern the stream itself: its start, its id, its end.

Edge and bot process read them, so that a call survives the death of either. The sound itself is never looked at.
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

Message = str | bytes
"""A message of a websocket: text or binary."""

MESSAGES_MAX: Final = 2
"""Carriers send ``connected`` and ``start``, or ``start`` alone."""


@dataclass(frozen=True, slots=True)
class CarrierStream:
    """The form of a carrier's stream.

    Attributes:
        carrier: The carrier.
        call_id: The key of the call id in ``start``.
        stream_id: The key of the stream's id.
        start_keys: The other keys that ``start`` has.
        keys: The keys that the start message has beside ``start``.
        is_event: Whether the start message has ``"event": "start"``.
        clear: The event that makes the carrier drop the audio that it has not played yet.
        clear_has_id: Whether that message names the stream.
        sample_bytes: The bytes of one sample of its audio: 1 with mu-law and A-law, 2 with PCM.
    """

    carrier: str
    call_id: str
    stream_id: str
    start_keys: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    is_event: bool = False
    clear: str = "clear"
    clear_has_id: bool = True
    sample_bytes: int = 1

    def clear_message(self, stream_id: str) -> str:
        """Return the message that makes the carrier drop the audio that it has not played yet."""
        named = {self.stream_id: stream_id} if self.clear_has_id else {}
        return json.dumps({"event": self.clear, **named})


FORMS: Final = (
    CarrierStream("twilio", "callSid", "streamSid", start_keys=("streamSid",), is_event=True),
    CarrierStream(
        "telnyx", "call_control_id", "stream_id", keys=("stream_id",), clear_has_id=False
    ),
    CarrierStream("plivo", "callId", "streamId", start_keys=("streamId",), clear="clearAudio"),
    CarrierStream(
        "exotel",
        "call_sid",
        "stream_sid",
        start_keys=("stream_sid", "account_sid"),
        is_event=True,
        sample_bytes=2,
    ),
)
"""The streams that Pipecat recognises, in its order, by the rules of ``parse_telephony_websocket``."""

_ID_KEYS: Final = frozenset(form.stream_id for form in FORMS)
# The parts of a message that Pipecat's serializers read; each of them is an object.
_PARTS: Final = ("start", "media", "dtmf")
# A carrier's message has about five. How deep Python reads a text depends on the caller, so that what can be read here
# might be too deep for the bot.
_BRACKETS_MAX: Final = 500
_STRING: Final = r'"[^"\\]*(?:\\.[^"\\]*)*"'
# Each string of a JSON text, and behind it the string that it is the key of. From the text's start every match
# begins outside of strings, so what looks like a key inside a string is never one.
_STRINGS: Final = re.compile(rf"({_STRING})(?:(\s*:\s*)({_STRING}))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class StreamStart:
    """A start message.

    Attributes:
        form: The form of the carrier's stream.
        call_id: The carrier's id of the call; empty if it is no text.
        stream_id: The carrier's id of the stream; empty if it is no text.
    """

    form: CarrierStream
    call_id: str
    stream_id: str


def form_of_room(room_url: str) -> CarrierStream | None:
    """Return the form of the stream in a room; None if it is not the room of a call at a known carrier.

    Args:
        room_url: The room, in canonical form.
    """
    kind, _, rest = room_url.partition(":")
    carrier = rest.partition(":")[0]
    return next((form for form in FORMS if kind == "phone" and form.carrier == carrier), None)


def decoded(message: Message) -> dict[str, Any]:
    """Return the JSON object in `message`; empty if there is none, or if it is binary."""
    if isinstance(message, bytes):  # carriers send text, and Pipecat reads no other
        return {}
    try:
        value = json.loads(message)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def is_readable(message: Message, form: CarrierStream) -> bool:
    """Return whether Pipecat's serializer of a carrier can read `message`.

    Carriers send JSON objects as text, and nothing else. Whatever a serializer raises, other than for a text that is
    no JSON, ends the loop in which Pipecat receives, and with it the call.

    Args:
        message: Any message of a carrier.
        form: The form of its stream.
    """
    if isinstance(message, bytes) or message.count("{") + message.count("[") > _BRACKETS_MAX:
        return False
    try:
        value = json.loads(message)
        if not isinstance(value, dict):
            return False
        if not all(isinstance(value.get(part, {}), dict) for part in _PARTS):
            return False
        payload = value.get("media", {}).get("payload")
        return not payload or len(base64.b64decode(payload)) % form.sample_bytes == 0
    except (ValueError, TypeError, RecursionError):
        return False


def start_of(message: Mapping[str, Any]) -> StreamStart | None:
    """Return the start that a decoded message is; None if it is not the start message of a carrier."""
    start = message.get("start")
    if not isinstance(start, dict):
        return None
    for form in FORMS:
        is_complete = (
            (not form.is_event or message.get("event") == "start")
            and all(key in message for key in form.keys)
            and all(key in start for key in (form.call_id, *form.start_keys))
        )
        if is_complete:
            stream_id = message.get(form.stream_id, start.get(form.stream_id))
            return StreamStart(form, _text(start[form.call_id]), _text(stream_id))
    return None


def is_connected(message: Mapping[str, Any]) -> bool:
    """Return whether a decoded message is the one that some carriers send before the start."""
    return message.get("event") == "connected"


def is_stop(message: Message) -> bool:
    """Return whether `message` says that the carrier ends the stream.

    Args:
        message: Any message of a stream. Only one without audio is parsed.
    """
    if is_audio(message) or not isinstance(message, str) or '"stop"' not in message:
        return False
    return decoded(message).get("event") == "stop"


def is_audio(message: Message) -> bool:
    """Return whether `message` carries audio: any binary one, and a carrier's ``media`` event.

    The text is searched, not parsed. Carriers' start messages have ``mediaFormat`` or ``media_format``, so the
    quotes make the difference.

    Args:
        message: Any message of a stream.
    """
    return isinstance(message, bytes) or '"media"' in message


def with_stream_id(text: str, old: str, new: str) -> str:
    """Return a JSON text in which the stream has another id; all else stays as it is, byte for byte.

    Args:
        text: A message of the stream.
        old: The id to replace, where it is the value of a key that holds a stream's id.
        new: The other id.
    """
    if old == new:
        return text

    def replaced(found: re.Match[str]) -> str:
        key, colon, value = found.groups()
        is_id = value is not None and _unquoted(key) in _ID_KEYS and _unquoted(value) == old
        return f"{key}{colon}{json.dumps(new)}" if is_id else found[0]

    return _STRINGS.sub(replaced, text)


def _unquoted(string: str) -> str | None:
    try:
        value = json.loads(string)
    except ValueError:  # a text that is no JSON
        return None
    return value if isinstance(value, str) else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
