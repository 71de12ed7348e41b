"""The credential for requests to a runner, which only that runner accepts.

The URLs of runners come from Redis. An attacker who can write there can insert a URL of their own. The
credential that is then sent to it must be useless for requests to any other component.
"""

import hashlib
import hmac
from typing import Final

# Separates this use of the secret from any other HMAC with it; a new scheme gets a new version.
_PURPOSE: Final = b"cordboard runner v1\n"


def runner_credential(secret: str, url: str) -> str:
    """Return the bearer credential for the runner at a base URL.

    Args:
        secret: The control secret.
        url: The runner's base URL, byte for byte as in its registration.
    """
    key = secret.encode("utf-8", "surrogateescape")
    message = _PURPOSE + url.encode("utf-8", "surrogatepass")
    return hmac.new(key, message, hashlib.sha256).hexdigest()
