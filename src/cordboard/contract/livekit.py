"""Access tokens of LiveKit, and the proof of its webhooks.

Both are JSON Web Tokens (RFC 7519) with HMAC-SHA256, signed with the API secret of a LiveKit project
(https://docs.livekit.io/home/get-started/authentication, https://docs.livekit.io/home/server/webhooks).
"""

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import dataclass, field
from typing import Any, Final

from cordboard.contract.errors import UnauthorizedError

# Clocks of two machines differ; LiveKit's own verifiers accept a minute as well.
CLOCK_SKEW_S: Final = 60

_HEADER: Final = {"alg": "HS256", "typ": "JWT"}
_SEGMENTS: Final = 3


@dataclass(frozen=True, slots=True)
class LiveKitServer:
    """A LiveKit server and a key of its API.

    Attributes:
        url: The URL for clients, such as ``wss://project.livekit.cloud``.
        api_key: The key's name.
        api_secret: The key's secret.
    """

    url: str
    api_key: str
    api_secret: str = field(repr=False)


def livekit_room(room: str) -> str:
    """Return LiveKit's name of the room ``livekit:NAME``."""
    return room.removeprefix("livekit:")


def agent_identity(session_id: str) -> str:
    """Return the identity of a session's bot in its room.

    It does not depend on the epoch: LiveKit disconnects the earlier participant when another one joins
    with the same identity, so the bot of a later epoch replaces one that was left behind.

    Args:
        session_id: The session.
    """
    return f"agent-{session_id}"


def access_token(
    server: LiveKitServer,
    *,
    room: str,
    identity: str,
    name: str,
    now_s: float,
    lifetime_s: int,
    is_agent: bool = False,
) -> str:
    """Return a token with which a participant joins a room.

    Args:
        server: The server and the key that signs.
        room: The room's name at LiveKit.
        identity: The participant's identity, unique in the room.
        name: The participant's display name.
        now_s: The present time, in seconds since 1970.
        lifetime_s: Seconds for which the token permits to join; a connection outlives it.
        is_agent: Whether the participant is the bot, which clients then show as an agent.
    """
    video = {"roomJoin": True, "room": room}
    if is_agent:
        video["agent"] = True
    claims = {
        "iss": server.api_key,
        "sub": identity,
        "name": name,
        "nbf": int(now_s) - CLOCK_SKEW_S,
        "exp": int(now_s) + lifetime_s,
        "video": video,
    }
    signed = f"{_encoded(_HEADER)}.{_encoded(claims)}"
    return f"{signed}.{_signature(server, signed)}"


def verify_webhook(server: LiveKitServer, authorization: str, body: bytes, now_s: float) -> None:
    """Check that LiveKit sent a webhook: its token is signed with our secret and names this body's hash.

    Args:
        server: The server and the key that signs.
        authorization: The header ``Authorization``, with or without ``Bearer``.
        body: The body, byte for byte.
        now_s: The present time, in seconds since 1970.

    Raises:
        UnauthorizedError: The token is missing, forged, expired, or belongs to another body.
    """
    token = authorization.removeprefix("Bearer ").strip()
    claims = _verified_claims(server, token)
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    is_current = (
        _number(claims.get("nbf"), 0) - CLOCK_SKEW_S
        <= now_s
        <= _number(claims.get("exp"), 0) + CLOCK_SKEW_S
    )
    is_ours = claims.get("iss") == server.api_key and is_current
    if not is_ours or not hmac.compare_digest(str(claims.get("sha256")).encode(), digest.encode()):
        raise _unauthorized()


def _verified_claims(server: LiveKitServer, token: str) -> dict[str, Any]:
    segments = token.split(".")
    if len(segments) != _SEGMENTS:
        raise _unauthorized()
    signed = f"{segments[0]}.{segments[1]}"
    # surrogatepass: a header may decode to anything, and a forged token must not raise another error.
    given, expected = segments[2].encode("utf-8", "surrogatepass"), _signature(server, signed)
    if not hmac.compare_digest(given, expected.encode()):
        raise _unauthorized()
    try:
        header, claims = (json.loads(_decoded(part)) for part in segments[:2])
    except (ValueError, binascii.Error) as error:
        raise _unauthorized() from error
    # The algorithm is fixed: a token must not choose how it is verified (RFC 8725, section 3.1).
    if not isinstance(header, dict) or header.get("alg") != "HS256" or not isinstance(claims, dict):
        raise _unauthorized()
    return claims


def _number(value: object, default: float) -> float:
    return float(value) if isinstance(value, int | float) else default


def _signature(server: LiveKitServer, signed: str) -> str:
    message = signed.encode("utf-8", "surrogatepass")
    return _base64url(hmac.new(server.api_secret.encode(), message, hashlib.sha256).digest())


def _encoded(value: object) -> str:
    return _base64url(json.dumps(value, separators=(",", ":")).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _unauthorized() -> UnauthorizedError:
    return UnauthorizedError(
        "The webhook's token is missing, invalid or expired.",
        hint="Sign webhooks with the API key that LIVEKIT_API_KEY names.",
    )
