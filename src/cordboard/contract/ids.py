"""Session ids and room names: their grammar, and the one canonical form of a room."""

import re

from cordboard.contract.errors import InvalidValueError

SESSION_ID_MAX_CHARS = 128
ROOM_URL_MAX_CHARS = 2048
BOT_NAME = r"[A-Za-z0-9._-]{1,64}"

# Compiled, and kept, by `re` when they are first used: a command that needs one starts sooner.
# A name of dots only is refused: in a path it would name another resource.
_SESSION_ID = r"(?!\.+\Z)[A-Za-z0-9._~:@-]{1,128}"
_WEBRTC_NAME = r"(?!\.+\Z)[A-Za-z0-9._~@-]{1,128}"
_UNFIT = r"[\x00-\x20\x7f-\xa0\u2028\u2029\ud800-\udfff]"
_PERCENT = r"%([0-9A-Fa-f]{2})?"
_UNRESERVED = r"[A-Za-z0-9._~-]"  # RFC 3986, section 2.3
_NOT_ASCII = r"[^\x00-\x7f]+"
_DEFAULT_PORTS = {"http": 80, "https": 443}

_UUID7_VERSION = 0x7
_UUID_VARIANT = 0b10


def is_session_id(value: object) -> bool:
    """Return whether ``value`` is 1 to 128 of ``A-Z a-z 0-9 . _ ~ : @ -``, and not only dots."""
    return isinstance(value, str) and re.fullmatch(_SESSION_ID, value) is not None


def is_bot_name(value: str) -> bool:
    """Return whether this is a valid name of a bot: 1 to 64 of ``A-Z a-z 0-9 . _ -``."""
    return re.fullmatch(BOT_NAME, value) is not None


def check_session_id(value: object) -> str:
    """Return ``value`` unchanged when it is a session id.

    Raises:
        InvalidValueError: It is not one.
    """
    if isinstance(value, str) and is_session_id(value):
        return value
    raise InvalidValueError(
        f"sessionId {_shown(value)} is not a session id.",
        hint="Use 1 to 128 characters of A-Z a-z 0-9 . _ ~ : @ -, not only dots, or leave it out.",
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

    A built-in peer-to-peer room is ``webrtc:NAME``; any other room is the ``http`` or ``https`` URL
    of its provider, in one spelling (RFC 3986, section 6.2): scheme and host in lower case, no
    default port, no trailing dot of the host, no dot segments, no needless percent-encoding, no
    trailing slash, no fragment. A token in the query is removed: it is a secret of one caller, and
    not part of the room's name (``room_token``).

    Raises:
        InvalidValueError: The value names no room.
    """
    if not isinstance(value, str) or not value:
        raise _no_room(value, "it is empty or no text")
    if len(value) > ROOM_URL_MAX_CHARS:
        raise _no_room(value, f"it is longer than {ROOM_URL_MAX_CHARS} characters")
    if re.search(_UNFIT, value):
        raise _no_room(value, "it contains blanks, control characters or lone surrogates")
    scheme, colon, rest = value.partition(":")
    scheme = scheme.lower()
    if colon and scheme == "webrtc":
        return f"webrtc:{_webrtc_name(value, rest)}"
    if colon and scheme in {"http", "https"}:
        found = _provider_url(value)
        if len(found) <= ROOM_URL_MAX_CHARS:
            return found
        raise _no_room(value, f"it is longer than {ROOM_URL_MAX_CHARS} characters")
    raise _no_room(value, "its scheme is none of webrtc:, https: and http:")


def _webrtc_name(value: str, rest: str) -> str:
    name = rest.partition("#")[0].rstrip("/")
    if re.fullmatch(_WEBRTC_NAME, name) is None:
        raise _no_room(
            value, "a webrtc: room has a name of 1 to 128 of A-Z a-z 0-9 . _ ~ @ -, not only dots"
        )
    return name


def room_token(value: object) -> str | None:
    """Return the secret in the query of a provider's URL; None without one.

    It has one of the names that ``canonical_room`` removes, so that none is lost. Daily's name, ``t``,
    comes first, then ``token``, then the others in their order.
    """
    from urllib.parse import parse_qsl, urlsplit

    from cordboard.contract.redaction import is_secret_parameter

    if not isinstance(value, str) or "?" not in value:
        return None
    try:
        pairs = parse_qsl(urlsplit(value).query, max_num_fields=100)
    except ValueError:
        return None
    found = {name.lower(): value for name, value in pairs if is_secret_parameter(name)}
    return found.get("t") or found.get("token") or next(iter(found.values()), None)


def with_room_token(body: object) -> object:
    """Return a request's body with the token of its room's URL as ``token``, unless it has one."""
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
        raise _no_room(value, str(error)) from error
    host = _host(parts.hostname or "")
    if not host:
        raise _no_room(value, "it names no host")
    if parts.username is not None or parts.password is not None:
        raise _no_room("https://…@…", "a name or a password does not belong in a URL")
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
    """Return a part of a URL with percent-encoding only where it is needed."""
    from urllib.parse import quote

    def decoded(found: re.Match[str]) -> str:
        if found[1] is None:
            return "%25"
        letter = chr(int(found[1], 16))
        return letter if re.match(_UNRESERVED, letter) else found[0].upper()

    ascii_only = re.sub(_NOT_ASCII, lambda found: quote(found[0]), text)
    return re.sub(_PERCENT, decoded, ascii_only)


def _without_dot_segments(path: str) -> str:
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[max(len(kept) - 1, 1) :]
        elif segment != ".":
            kept.append(segment)
    return "/".join(kept)


def _without_secrets(query: str) -> str:
    from cordboard.contract.redaction import is_secret_parameter

    kept = [
        pair
        for pair in query.split("&")
        if pair and not any(is_secret_parameter(part.split("=")[0]) for part in pair.split(";"))
    ]
    return "?" + "&".join(kept) if kept else ""


def is_webrtc_room(room: str) -> bool:
    """Return whether a canonical room is a built-in peer-to-peer one."""
    return room.startswith("webrtc:")


def _no_room(value: object, why: str) -> InvalidValueError:
    return InvalidValueError(
        f"room_url {_shown(value)} is not a room: {why}.",
        hint="Give a provider's URL such as https://acme.daily.co/standup, or webrtc:NAME.",
        extra={"field": "room_url"},
    )


def _shown(value: object, limit: int = 80) -> str:
    from cordboard.contract.redaction import redact

    text = ascii(redact(value) if isinstance(value, str) else value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
