"""The head of a request to a bot process, ``/sessions/{id}/bot/{path}``, as the runner reads it.

The runner takes no more from it than it needs to find the process and to check the credential. The process
parses the whole request again.
"""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

# The longest method that is registered at IANA has 17 characters (UPDATEREDIRECTREF).
_METHOD_MAX_BYTES: Final = 17
_SESSIONS: Final = b"/sessions/"
_BOT: Final = b"bot/"
# A session id has 128 characters, and each may be percent-encoded.
_ID_MAX_BYTES: Final = 3 * 128
# Lua and JavaScript, which handle epochs as well, cannot represent larger integers exactly.
_EPOCH: Final = re.compile(rb"[1-9][0-9]{0,15}")


@dataclass(frozen=True, slots=True)
class BotRequest:
    """A request to a bot process.

    Attributes:
        session_id: The session in the path; not necessarily a valid id.
        epoch: The epoch in ``X-Session-Epoch``; None if it is missing, malformed or repeated.
        credential: The bearer credential; empty if it is missing or repeated, or beside a control secret, which
            the process must not see.
        host: The ``Host`` header.
    """

    session_id: str
    epoch: int | None
    credential: bytes
    host: str


def is_bot_request(start: bytes) -> bool | None:
    """Return whether a request that begins with the bytes `start` is one to a bot process.

    Returns:
        None while further bytes may decide.
    """
    method, space, target = start.partition(b" ")
    if not method.isalpha() or len(method) > _METHOD_MAX_BYTES:
        return False if method else None
    if not space or len(target) < len(_SESSIONS):
        return None if _SESSIONS.startswith(target) else False
    session_id, slash, rest = target.removeprefix(_SESSIONS).partition(b"/")
    is_possible = (
        target.startswith(_SESSIONS) and b" " not in session_id and b"\n" not in session_id
    )
    if not is_possible or len(session_id) > _ID_MAX_BYTES:
        return False
    if rest.startswith(_BOT):
        return True
    return None if not slash or _BOT.startswith(rest) else False


def read_bot_request(head: bytes) -> BotRequest:
    """Return the request with the head `head`, for which `is_bot_request` returned true."""
    request_line, *lines = head.split(b"\r\n")
    session_id = request_line.partition(_SESSIONS)[2].partition(b"/")[0]
    headers: dict[bytes, list[bytes]] = {}
    for line in lines:
        name, _, value = line.partition(b":")
        headers.setdefault(name.strip().lower(), []).append(value.strip())
    epoch = _only(headers.get(b"x-session-epoch"))
    scheme, _, credential = _only(headers.get(b"authorization")).partition(b" ")
    is_bearer = scheme.lower() == b"bearer" and b"x-bot-secret" not in headers
    return BotRequest(
        session_id=unquote_to_bytes(session_id).decode("latin-1"),
        epoch=int(epoch) if _EPOCH.fullmatch(epoch) else None,
        credential=credential.strip() if is_bearer else b"",
        host=_only(headers.get(b"host")).decode("latin-1"),
    )


def _only(values: list[bytes] | None) -> bytes:
    # Two values for one header could be read in two ways, by this runner and by the bot process.
    return values[0] if values and len(values) == 1 else b""
