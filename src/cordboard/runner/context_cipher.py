"""Encrypts what was said in a session, before it is kept in Redis, with a key of that session."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

# Separates this use of the secret from every other; another way to encrypt gets another version.
_PURPOSE: Final = b"cordboard kept context v1\n"


class UnreadableContextError(Exception):
    """A text was not encrypted for this session with one of the present control secrets, or was changed."""


@dataclass(frozen=True, slots=True)
class ContextCipher:
    """Encrypts with the current control secret, and decrypts with its predecessor too.

    Attributes:
        secrets: Returns the control secret and its predecessor; there is one at least.
    """

    secrets: Callable[[], tuple[str, ...]]

    def encrypt(self, session_id: str, data: bytes) -> str:
        """Return `data` of a session, encrypted and authenticated, as text."""
        return self._cipher(session_id).encrypt(data).decode("ascii")

    def decrypt(self, session_id: str, text: str) -> bytes:
        """Return what ``encrypt`` got.

        Raises:
            UnreadableContextError: The text is of another session or secret, or was changed.
        """
        try:
            return self._cipher(session_id).decrypt(text.encode("utf-8", "surrogatepass"))
        except InvalidToken as error:
            raise UnreadableContextError from error

    def _cipher(self, session_id: str) -> MultiFernet:
        # The files of the secrets may have changed since the last call.
        return MultiFernet([_fernet(secret, session_id) for secret in self.secrets()])


def _fernet(secret: str, session_id: str) -> Fernet:
    info = _PURPOSE + session_id.encode("utf-8", "surrogatepass")
    derivation = HKDF(algorithm=SHA256(), length=32, salt=None, info=info)
    key = derivation.derive(secret.encode("utf-8", "surrogateescape"))
    return Fernet(base64.urlsafe_b64encode(key))
