"""The credential for calls to a runner, which only that runner accepts.

A runner's address comes from Redis. Whoever can write there may put in their own address; the
credential that arrives there must not be valid anywhere else.
"""

import hashlib
import hmac
from typing import Final

_PURPOSE: Final = b"cordboard runner v1\n"


def runner_credential(secret: str, url: str) -> str:
    """Return the bearer credential for the runner that is reached at a base URL.

    Args:
        secret: The control secret.
        url: The runner's base URL, as it registered it and as it is called.
    """
    key = secret.encode("utf-8", "surrogateescape")
    said = _PURPOSE + url.encode("utf-8", "surrogatepass")
    return hmac.new(key, said, hashlib.sha256).hexdigest()
