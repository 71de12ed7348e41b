"""Session ids and room names: their grammar, and the one canonical form of a room."""

import re

from cordboard.contract.errors import InvalidValueError

SESSION_ID_MAX_CHARS = 128
ROOM_URL_MAX_CHARS = 2048

# Compiled, and kept, by `re` when they are first used: a command that needs one starts sooner.
_SESSION_ID = r"[A-Za-z0-9._~:@-]{1,128}"
_WEBRTC_NAME = r"[A-Za-z0-9._~@-]{1,128}"
_UNPRINTABLE = r"[\x00-\x20\x7f-\xa0\u2028\u2029]"

_UUID7_VERSION = 0x7
_UUID_VARIANT = 0b10


def is_session_id(value: object) -> bool:
    """Say whether ``value`` is 1 to 128 characters of ``A-Z a-z 0-9 . _ ~ : @ -``."""
    return isinstance(value, str) and re.fullmatch(_SESSION_ID, value) is not None


def check_session_id(value: object) -> str:
    """Return ``value`` unchanged when it is a session id.

    Raises:
        InvalidValueError: It is not one.
    """
    if isinstance(value, str) and is_session_id(value):
        return value
    raise InvalidValueError(
        f"sessionId {_shown(value)} is not a session id.",
        hint="Use 1 to 128 characters of A-Z a-z 0-9 . _ ~ : @ - or leave it out.",
        extra={"field": "sessionId"},
    )


def uuid7(unix_ms: int, entropy: bytes) -> str:
    """Build a UUID version 7 (RFC 9562, section 5.7): ids that sort by the time of their making.

    Args:
        unix_ms: Milliseconds since the Unix epoch.
        entropy: At least 10 random bytes.
    """
    rand_a = int.from_bytes(entropy[:2], "big") & 0xFFF
    rand_b = int.from_bytes(entropy[2:10], "big") & ((1 << 62) - 1)
    number = (unix_ms & ((1 << 48) - 1)) << 80
    number |= _UUID7_VERSION << 76 | rand_a << 64 | _UUID_VARIANT << 62 | rand_b
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def canonical_room(value: object) -> str:
    """Return the canonical form of a room URL: the name under which one bot at most may live.

    Scheme and host lower case, no trailing slash, no fragment. A built-in peer-to-peer room is
    ``webrtc:NAME``; any other room is the ``http`` or ``https`` URL of its provider.

    Raises:
        InvalidValueError: The value names no room.
    """
    if not isinstance(value, str) or not value:
        raise _no_room(value, "it is empty or no text")
    if len(value) > ROOM_URL_MAX_CHARS:
        raise _no_room(value, f"it is longer than {ROOM_URL_MAX_CHARS} characters")
    if re.search(_UNPRINTABLE, value):
        raise _no_room(value, "it holds blanks or control characters")
    scheme, colon, rest = value.partition(":")
    scheme = scheme.lower()
    if colon and scheme == "webrtc":
        return f"webrtc:{_webrtc_name(value, rest)}"
    if colon and scheme in {"http", "https"}:
        return _provider_url(value)
    raise _no_room(value, "its scheme is none of webrtc:, https: and http:")


def _webrtc_name(value: str, rest: str) -> str:
    name = rest.partition("#")[0].rstrip("/")
    if re.fullmatch(_WEBRTC_NAME, name) is None:
        raise _no_room(value, "a webrtc: room has a name of A-Z a-z 0-9 . _ ~ @ -, at most 128")
    return name


def _provider_url(value: str) -> str:
    from urllib.parse import urlsplit  # noqa: PLC0415 - most commands meet no such room

    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError as error:
        raise _no_room(value, str(error)) from error
    if not parts.hostname:
        raise _no_room(value, "it names no host")
    if parts.username is not None or parts.password is not None:
        raise _no_room("https://…@…", "a name or a password does not belong in a URL")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if port is not None:
        host = f"{host}:{port}"
    path = parts.path.rstrip("/")
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{host}{path}{query}"


def is_webrtc(room: str) -> bool:
    """Say whether a canonical room is a built-in peer-to-peer one."""
    return room.startswith("webrtc:")


def _no_room(value: object, why: str) -> InvalidValueError:
    return InvalidValueError(
        f"room_url {_shown(value)} is not a room: {why}.",
        hint="Give a provider's URL such as https://acme.daily.co/standup, or webrtc:NAME.",
        extra={"field": "room_url"},
    )


def _shown(value: object, limit: int = 80) -> str:
    text = ascii(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
