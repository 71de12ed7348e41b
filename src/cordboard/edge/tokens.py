"""The tokens in the URLs of streams: each admits a WebSocket to one session, and to nothing else.

A token is ``PAYLOAD.MAC``: the base64url of the expiry, the session and the room, and the base64url of the
HMAC-SHA256 of that payload. The key is derived from the control secret, so that every edge accepts the
tokens of every other, and none keeps state.
"""

import base64
import hashlib
import hmac
import secrets as random_secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

FIRST_USE_S: Final = 60
"""Seconds within which the first connection has to arrive. A session without a stream ends after the same time."""

_KEY_BYTES: Final = (
    32  # the size of SHA-256's digest; a longer key adds nothing (RFC 2104, section 3)
)
# Separates this use of the secret from any other HMAC with it; a new form of tokens gets a new version.
_PURPOSE: Final = b"cordboard stream token v1\n"


@dataclass(frozen=True, slots=True)
class StreamGrant:
    """What a valid token grants.

    Attributes:
        session_id: The session.
        room_url: Its room.
        issued_at: When the token was issued, in seconds since the Unix epoch.
        is_expired: Whether the time of the first connection is over. The token then admits to a session
            that is live, which only the gateway can answer.
    """

    session_id: str
    room_url: str
    issued_at: int
    is_expired: bool


class StreamTokens:
    """Issues and verifies the tokens of streams.

    Args:
        secrets: Returns the control secrets, the current one first. Without any, as on loopback, tokens
            are good for this process only.
    """

    def __init__(self, secrets: Callable[[], tuple[str, ...]]) -> None:
        self._secrets = secrets
        self._process_key = random_secrets.token_bytes(_KEY_BYTES)

    def issue(self, session_id: str, room_url: str, now: float) -> str:
        """Return a token, which fits into one segment of a URL's path.

        Args:
            session_id: The session.
            room_url: Its room, in canonical form.
            now: The time in seconds since the Unix epoch.
        """
        # Neither a session id nor a canonical room contains a line break, so the parts are unambiguous.
        payload = _encode(f"{int(now)}\n{session_id}\n{room_url}".encode())
        return f"{payload}.{_mac(self._keys()[0], payload)}"

    def verify(self, token: str, now: float) -> StreamGrant | None:
        """Return what `token` grants; None if it is not one of ours.

        Args:
            token: The text from the URL.
            now: The time in seconds since the Unix epoch.
        """
        payload, _, mac = token.partition(".")
        # The texts are compared, not the decoded bytes: base64 has several texts for the same bytes.
        # All keys are tried, so that the time does not depend on which one fits.
        sent = mac.encode("utf-8", "surrogatepass")
        matches = [hmac.compare_digest(_mac(key, payload).encode(), sent) for key in self._keys()]
        if not any(matches):
            return None
        issued_at, session_id, room_url = _decode(payload).split("\n")
        age_s = now - int(issued_at)
        return StreamGrant(session_id, room_url, int(issued_at), is_expired=age_s > FIRST_USE_S)

    def _keys(self) -> tuple[bytes, ...]:
        keys = tuple(_derived_key(secret) for secret in self._secrets())
        return keys or (self._process_key,)


def _derived_key(secret: str) -> bytes:
    key = secret.encode("utf-8", "surrogateescape")
    return hmac.new(key, _PURPOSE, hashlib.sha256).digest()


def _mac(key: bytes, payload: str) -> str:
    message = payload.encode("utf-8", "surrogatepass")
    return _encode(hmac.new(key, message, hashlib.sha256).digest())


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> str:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
