"""What a line of ours tells without being decoded: enough to count it and to hand it on as it is."""

from typing import Final

from cordboard.contract.record import SERVER_PREFIX
from cordboard.logs.line import Attribution
from cordboard.logs.records import is_text
from cordboard.logs.stamps import OWN_START, tail_at

_RAW: Final = (b',"raw":true', b',"raw":true,"truncated":true')
_SERVICE: Final = b'"service":"'
_SESSION: Final = b'"sessionId":"'
_SERVER: Final = SERVER_PREFIX.encode()

Glance = tuple[str, Attribution]
"""The service, and how the line's session is known."""


def glance(raw: bytes) -> Glance | None:
    """Return what a line tells; None where it is not surely a whole line in our own form.

    Quotes inside of texts stand behind a backslash, so that a key's name with its quotes is never
    part of a message; `meta`, which could hold the same names, stands behind what is looked for.
    """
    tail = tail_at(raw)
    if tail < 0 or not raw.startswith(OWN_START) or b"\n" in raw:
        return None
    service = raw.find(_SERVICE) + len(_SERVICE)
    session = raw.find(_SESSION, service) + len(_SESSION)
    end = raw.find(b'"', service)
    if service < len(_SERVICE) or session < len(_SESSION) or not is_text(raw):
        return None
    name = raw[service:end].decode()
    if raw.startswith(_SERVER, session):
        return name, "absent"
    return name, "inherited" if raw.endswith(_RAW, 0, tail) else "explicit"
