"""The names of cold runners' Jobs, which follow from the session, so that whoever knows the session finds them."""

import hashlib
import re
from typing import Final

# With the prefix, the separators and an epoch of 16 digits: below 63 characters, the limit of a DNS label.
_SLUG_CHARS: Final = 20
_HASH_CHARS: Final = 16
_DIGITS: Final = "abcdefghijklmnopqrstuvwxyz234567"


def job_name(session_id: str, epoch: int) -> str:
    """Return the name of a launch's Job: the same for the same session and epoch.

    Args:
        session_id: The session.
        epoch: Its epoch.
    """
    return f"{job_prefix(session_id)}{epoch}"


def job_prefix(session_id: str) -> str:
    """Return what the names of all Jobs of a session begin with; the epoch follows.

    The name is a DNS label: the readable part of the session id, 80 bits of a hash to distinguish ids
    whose readable parts are equal, and the epoch.

    Args:
        session_id: The session.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", session_id.lower())[:_SLUG_CHARS].strip("-")
    digest = int(hashlib.sha256(session_id.encode()).hexdigest(), 16)
    parts = ("bot", slug, _base32(digest)[:_HASH_CHARS])
    return "".join(f"{part}-" for part in parts if part)


def _base32(number: int) -> str:
    text = ""
    while number:
        number, rest = divmod(number, 32)
        text += _DIGITS[rest]
    return text
