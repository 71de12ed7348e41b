"""Paths of calls that only the edge can make.

A carrier signs its requests, but Telnyx does not sign their URL, and Exotel signs nothing. So a path that names
a session contains a proof: a copied request is valid for that session only.
"""

import hashlib
import hmac
import secrets as random_secrets
from collections.abc import Callable
from typing import Final, Literal
from urllib.parse import quote

CallStep = Literal["again", "answer", "status", "machine"]
"""What a carrier requests: ``again`` the document after a stream, ``answer`` the document of an answered call. Or
what it reports: ``status`` a state, ``machine`` an answering machine that ends the session."""

_PURPOSE: Final = b"cordboard phone path v1\n"
# 128 bits, which cannot be guessed.
_MAC_BYTES: Final = 16
# Characters of session ids, which are kept byte for byte; all of them may stand in a path (RFC 3986, 3.3).
_SAFE: Final = "~:@"


class CallPaths:
    """Makes and checks the paths of calls.

    Args:
        secrets: Returns the control secrets, the current one first. Without any, as on loopback, paths are
            good for this process only.
    """

    def __init__(self, secrets: Callable[[], tuple[str, ...]]) -> None:
        self._secrets = secrets
        self._process_key = random_secrets.token_hex(32)

    def path(self, provider: str, step: CallStep, session_id: str) -> str:
        """Return the path of a step of a call.

        Args:
            provider: The carrier.
            step: What the carrier requests.
            session_id: The session.
        """
        mac = _mac(self._keys()[0], provider, step, session_id)
        return f"/phone/{provider}/{step}/{quote(session_id, safe=_SAFE)}/{mac}"

    def is_ours(self, provider: str, step: str, session_id: str, mac: str) -> bool:
        """Return whether `path` has made this path.

        Args:
            provider: The carrier.
            step: The step, from the path.
            session_id: The session, from the path.
            mac: The proof, from the path.
        """
        received_mac = mac.encode("utf-8", "replace")
        matches = [
            hmac.compare_digest(_mac(key, provider, step, session_id).encode(), received_mac)
            for key in self._keys()
        ]
        return any(matches)

    def _keys(self) -> tuple[str, ...]:
        return self._secrets() or (self._process_key,)


def _mac(secret: str, provider: str, step: str, session_id: str) -> str:
    # None of the three contains a line break, so no two of them have the same message.
    message = _PURPOSE + f"{provider}\n{step}\n{session_id}".encode("utf-8", "surrogatepass")
    key = secret.encode("utf-8", "surrogateescape")
    return hmac.digest(key, message, hashlib.sha256)[:_MAC_BYTES].hex()
