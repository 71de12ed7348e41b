"""How a URL is shown: never with its user, its password or its query."""

import re

from cordboard.contract.errors import SettingsError
from cordboard.contract.typed import Final

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


def is_odd_url(url: str) -> bool:
    """Return whether a URL has a port that is none, or ends its hosts within its password."""
    from urllib.parse import urlsplit  # noqa: PLC0415 - most commands meet no such URL

    try:
        parts = urlsplit(url)
        for host in parts.netloc.rpartition("@")[2].split(","):
            _ = urlsplit(f"//{host}").port
    except ValueError:
        return True
    if parts.scheme == "unix" and not parts.netloc:  # then the path may hold an @
        return bool(parts.fragment)
    return bool(parts.fragment) or "@" in parts.path + parts.query


def checked_http_url(name: str, url: str, *, may_have_user: bool = False) -> str:
    """Return an address of HTTP, without a slash at its end.

    Args:
        name: What it is called in a message.
        url: The address.
        may_have_user: Whether a user and a password may stand in it, as in a proxy's.

    Raises:
        SettingsError: It is none; the message holds no part of a password.
    """
    is_http = url.startswith(("http://", "https://"))
    has_user = "@" in url
    if not is_http or is_odd_url(url) or (has_user and not may_have_user):
        hint = "A user and a password have no place in it."
        if may_have_user:
            hint = "Write / ? # @ in a password as %2F %3F %23 %40."
        raise SettingsError(
            f"{name} {redacted_url(url)}: expected http://HOST:PORT or https://HOST:PORT.",
            hint=hint if has_user else "",
        )
    return url.rstrip("/")
