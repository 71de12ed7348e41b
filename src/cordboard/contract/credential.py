"""The credentials for requests to one runner and to one bot process, which nothing else accepts.

The URLs of runners come from Redis. An attacker who can write there can insert a URL of their own. The
credential that is then sent to it must be useless for requests to any other component. A request to a bot
process is read by that process, so its credential must be useless everywhere else, too.
"""

import hashlib
import hmac
from typing import Final

# Separate these uses of the secret from any other HMAC with it; a new scheme gets a new version.
_RUNNER: Final = b"cordboard runner v1\n"
_BOT: Final = b"cordboard bot v1\n"


def runner_credential(secret: str, url: str) -> str:
    """Return the bearer credential for the runner at a base URL.

    Args:
        secret: The control secret.
        url: The runner's base URL, byte for byte as in its registration.
    """
    return _mac(secret, _RUNNER + url.encode("utf-8", "surrogatepass"))


def bot_credential(secret: str, session_id: str, epoch: int) -> str:
    """Return the bearer credential for the bot process of one session and epoch.

    The process sees it, as it reads the request itself. It admits to nothing but that process.

    Args:
        secret: The control secret.
        session_id: The session.
        epoch: The epoch in which the process has the room.
    """
    # A session id contains no line break, so no two pairs have the same message.
    return _mac(secret, _BOT + f"{session_id}\n{epoch}".encode("utf-8", "surrogatepass"))


def _mac(secret: str, message: bytes) -> str:
    key = secret.encode("utf-8", "surrogateescape")
    return hmac.new(key, message, hashlib.sha256).hexdigest()
