"""The grammar of session ids, bot names and rooms, and the canonical form of a room."""

import re
from typing import Literal

from cordboard.contract.errors import InvalidValueError

# Ids and rooms are parts of Redis keys, of paths and of every log line, so they are bounded.
SESSION_ID_MAX_CHARS = 128
ROOM_URL_MAX_CHARS = 2048
BOT_NAME = r"[A-Za-z0-9._-]{1,64}"

RoomKind = Literal["webrtc", "phone", "ws", "livekit", "url"]
"""How people reach a room; ``url`` is the room of a provider such as Daily."""

# `re` compiles and caches them at first use, so that commands that use none start sooner.
# Names that consist of dots are refused: in the path of a URL they would address another resource.
_SESSION_ID = r"(?!\.+\Z)[A-Za-z0-9._~:@-]{1,128}"
# The names of rooms that are no URL, by kind. Each carrier has its own call ids, hence the provider in
# the room of a phone call. LiveKit's SIP service puts the caller's number, with its +, into names.
_NAMES: dict[RoomKind, str] = {
    "webrtc": r"(?!\.+\Z)[A-Za-z0-9._~@-]{1,128}",
    "phone": rf"[A-Za-z0-9-]{{1,32}}:{_SESSION_ID}",
    "ws": _SESSION_ID,
    "livekit": r"(?!\.+\Z)[A-Za-z0-9._~:@+-]{1,128}",
}
_NAME_RULES: dict[RoomKind, str] = {
    "webrtc": "a name of 1 to 128 of A-Z a-z 0-9 . _ ~ @ -, not only dots",
    "phone": "PROVIDER:CALLID, a provider of 1 to 32 of A-Z a-z 0-9 - and a call id of 1 to 128 of "
    "A-Z a-z 0-9 . _ ~ : @ -, not only dots",
    "ws": "a name of 1 to 128 of A-Z a-z 0-9 . _ ~ : @ -, not only dots",
    "livekit": "a name of 1 to 128 of A-Z a-z 0-9 . _ ~ : @ + -, not only dots",
}
# What no URL contains: C0 and C1 controls, spaces, line separators, surrogates.
_UNFIT = r"[\x00-\x20\x7f-\xa0\u2028\u2029\ud800-\udfff]"
_PERCENT = r"%([0-9A-Fa-f]{2})?"
_UNRESERVED = r"[A-Za-z0-9._~-]"  # RFC 3986, section 2.3
# Other characters are percent-encoded as UTF-8, so that both spellings are one room.
_NOT_ASCII = r"[^\x00-\x7f]+"
_DEFAULT_PORTS = {"http": 80, "https": 443}

_UUID7_VERSION = 0x7
_UUID_VARIANT = 0b10


def is_session_id(value: object) -> bool:
    """Return whether ``value`` is 1 to 128 of ``A-Z a-z 0-9 . _ ~ : @ -``, and not only dots."""
    return isinstance(value, str) and re.fullmatch(_SESSION_ID, value) is not None


def is_bot_name(value: str) -> bool:
    """Return whether ``value`` is a valid bot name: 1 to 64 of ``A-Z a-z 0-9 . _ -``."""
    return re.fullmatch(BOT_NAME, value) is not None


def check_session_id(value: object) -> str:
    """Return ``value`` unchanged if it is a session id.

    Raises:
        InvalidValueError: It is not one.
    """
    if isinstance(value, str) and is_session_id(value):
        return value
    raise InvalidValueError(
        f"Invalid sessionId {_shown(value)}.",
        hint="Use 1 to 128 of A-Z a-z 0-9 . _ ~ : @ -, not only dots, or omit it.",
        extra={"field": "sessionId"},
    )


def uuid7(unix_ms: int, entropy: bytes) -> str:
    """Return a UUID version 7 (RFC 9562, section 5.7). Such ids sort by the time of their creation.

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
    """Return the canonical form of the room URL ``value``. A room in this form has at most one bot.

    ``webrtc:NAME`` is a built-in peer-to-peer room, ``phone:PROVIDER:CALLID`` a phone call, ``ws:NAME`` the
    WebSocket of any client, ``livekit:NAME`` a room of the configured LiveKit server. In these the scheme and
    the provider are in lower case; names and call ids are kept byte for byte. Any other room is the ``http``
    or ``https`` URL of its provider, normalized by RFC 3986, section 6.2: scheme and host in lower case, no
    default port, no trailing dot of the host, no dot segments, no needless percent-encoding, no trailing
    slash, no fragment. A token in the query is removed, because it is a secret of one caller and not part of
    the room's name (`room_token`).

    Raises:
        InvalidValueError: The value is not a room URL.
    """
    if not isinstance(value, str) or not value:
        raise _invalid_room(value, "it is empty or not a string")
    if len(value) > ROOM_URL_MAX_CHARS:
        raise _invalid_room(value, f"it is longer than {ROOM_URL_MAX_CHARS} characters")
    if re.search(_UNFIT, value):
        raise _invalid_room(value, "it contains whitespace, control characters or lone surrogates")
    scheme, colon, rest = value.partition(":")
    scheme = scheme.lower()
    for kind, pattern in _NAMES.items():
        if colon and scheme == kind:
            return f"{kind}:{_room_name(value, kind, pattern, rest)}"
    if colon and scheme in {"http", "https"}:
        url = _provider_url(value)
        if len(url) <= ROOM_URL_MAX_CHARS:
            return url
        raise _invalid_room(value, f"it is longer than {ROOM_URL_MAX_CHARS} characters")
    schemes = ", ".join(f"{kind}:" for kind in _NAMES)
    raise _invalid_room(value, f"expected the scheme {schemes}, https: or http:")


def room_kind(room: str) -> RoomKind:
    """Return the kind of ``room``, which is in canonical form."""
    scheme = room.partition(":")[0]
    return next((kind for kind in _NAMES if kind == scheme), "url")


def _room_name(value: str, kind: RoomKind, pattern: str, rest: str) -> str:
    name = rest.partition("#")[0].rstrip("/")
    if re.fullmatch(pattern, name) is None:
        raise _invalid_room(value, f"expected {_NAME_RULES[kind]}")
    if kind == "phone":
        provider, _, call_id = name.partition(":")
        return f"{provider.lower()}:{call_id}"
    return name


def room_token(value: object) -> str | None:
    """Return the token in the query of the room URL ``value``; None without one.

    It is the value of a parameter that `canonical_room` removes, so that none is lost. Daily's name ``t``
    has precedence, then ``token``, then the order of the query.
    """
    from urllib.parse import parse_qsl, urlsplit

    from cordboard.contract.redaction import is_secret_parameter

    if not isinstance(value, str) or "?" not in value:
        return None
    try:
        pairs = parse_qsl(urlsplit(value).query, max_num_fields=100)
    except ValueError:
        return None
    secrets = {name.lower(): value for name, value in pairs if is_secret_parameter(name)}
    return secrets.get("t") or secrets.get("token") or next(iter(secrets.values()), None)


def with_room_token(body: object) -> object:
    """Return ``body``, of a request, with the token of its room URL as ``token`` unless it has one."""
    if not isinstance(body, dict) or body.get("token"):
        return body
    token = room_token(body.get("room_url"))
    return {**body, "token": token} if token else body


def _provider_url(value: str) -> str:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError as error:
        raise _invalid_room(value, str(error)) from error
    host = _host(parts.hostname or "")
    if not host:
        raise _invalid_room(value, "it has no host")
    if parts.username is not None or parts.password is not None:
        raise _invalid_room("https://…@…", "it contains a user or a password")
    if port is not None and port != _DEFAULT_PORTS[parts.scheme]:
        host = f"{host}:{port}"
    path = _without_dot_segments(_normal(parts.path)).rstrip("/")
    query = _without_secrets(_normal(parts.query))
    return f"{parts.scheme}://{host}{path}{query}"


def _host(name: str) -> str:
    if ":" in name:
        return f"[{name}]"
    return _normal(name).lower().rstrip(".")


def _normal(text: str) -> str:
    """Return a part of a URL with the percent-encoding that is necessary, and no other."""
    from urllib.parse import quote

    def decoded(match: re.Match[str]) -> str:
        if match[1] is None:
            return "%25"
        letter = chr(int(match[1], 16))
        return letter if re.match(_UNRESERVED, letter) else match[0].upper()

    ascii_only = re.sub(_NOT_ASCII, lambda match: quote(match[0]), text)
    return re.sub(_PERCENT, decoded, ascii_only)


def _without_dot_segments(path: str) -> str:
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del segments[max(len(segments) - 1, 1) :]
        elif segment != ".":
            segments.append(segment)
    return "/".join(segments)


def _without_secrets(query: str) -> str:
    from cordboard.contract.redaction import is_secret_parameter

    pairs = [
        pair
        for pair in query.split("&")
        if pair and not any(is_secret_parameter(part.split("=")[0]) for part in pair.split(";"))
    ]
    return "?" + "&".join(pairs) if pairs else ""


def is_webrtc_room(room: str) -> bool:
    """Return whether ``room``, in canonical form, is a built-in peer-to-peer room."""
    return room_kind(room) == "webrtc"


def _invalid_room(value: object, why: str) -> InvalidValueError:
    return InvalidValueError(
        f"Invalid room_url {_shown(value)}: {why}.",
        hint="Use webrtc:NAME, phone:PROVIDER:CALLID, ws:NAME, livekit:NAME, or a provider's URL such as "
        "https://acme.daily.co/standup.",
        extra={"field": "room_url"},
    )


def _shown(value: object, limit: int = 80) -> str:
    from cordboard.contract.redaction import redact

    text = ascii(redact(value) if isinstance(value, str) else value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
