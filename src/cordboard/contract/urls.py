"""How a URL is shown: never with its user, its password or its query."""

import re
from typing import Final

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_HOST: Final = r"(?:\[[0-9A-Fa-f:.]*\]|[A-Za-z0-9._-]*)(?::[0-9]{1,5})?"
_PLACE: Final = re.compile(rf"{_HOST}(?:,{_HOST})*(?:/[^?#\s]*)?")


def redacted_url(url: str) -> str:
    """Return a URL as it may be shown to anybody who reads a message or a log.

    A password may hold any character, allowed there or not. So all that stands before the last ``@``
    is left out, the query and the fragment are left out, and what does not look like hosts and a
    path is left out, too: it may be a password whose host is missing, or the end of one in a query.
    """
    found = _SCHEME.match(url)
    scheme = found[0] if found else ""
    user, at, rest = url[len(scheme) :].rpartition("@")
    cut = re.search(r"[?#]", rest)
    place = rest[: cut.start()] if cut else rest
    shown = place if _PLACE.fullmatch(place) and not re.search(r"[?#]", user) else "…"
    return f"{scheme}{'…@' if at else ''}{shown}{'?…' if cut else ''}"
