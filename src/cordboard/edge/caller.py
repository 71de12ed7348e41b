"""The identity of a person who calls by phone: personal data, so that only a keyed hash of the number is kept."""

import hashlib
import hmac
from typing import Final

# Separates this use of the secret from any other HMAC with it.
_PURPOSE: Final = b"cordboard caller v1\n"
# 64 bits: two callers of a service get the same id with a probability of 1 in 10^7 at a million callers.
_HASH_CHARS: Final = 16
_SHOWN_DIGITS: Final = 3


def caller_id(number: str, secret: str) -> str:
    """Return the user id of a caller: the same for each call from the same number.

    Without the secret nobody can find the number by trying all numbers.

    Args:
        number: The caller's number, as the carrier sends it.
        secret: The control secret; a new one gives all callers new ids.
    """
    key = secret.encode("utf-8", "surrogateescape")
    digest = hmac.new(key, _PURPOSE + number.encode("utf-8", "surrogatepass"), hashlib.sha256)
    return f"tel:{digest.hexdigest()[:_HASH_CHARS]}"


def masked_number(number: str) -> str:
    """Return `number`, a telephone number, for a log line: its last three digits, such as ``…567``."""
    digits = [character for character in number if character.isascii() and character.isdigit()]
    return "…" + "".join(digits[-_SHOWN_DIGITS:])
