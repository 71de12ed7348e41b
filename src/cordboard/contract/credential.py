"""What a runner is called with: a credential that is good for that runner alone.

Where a runner is comes from Redis. Whoever can write there may name an address of their own; what
arrives there must open no other door.
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
