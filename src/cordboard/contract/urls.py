"""How URLs are shown: never with a user, a password or a query."""

import re
from typing import Final

from cordboard.contract.errors import SettingsError

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_HOST: Final = r"(?:\[[0-9A-Fa-f:.]*\]|[A-Za-z0-9._-]*)(?::[0-9]{1,5})?"
_PLACE: Final = re.compile(rf"{_HOST}(?:,{_HOST})*(?:/[^?#\s]*)?")


def redacted_url(url: str) -> str:
    """Return a URL in a form that anybody who reads a message or a log may see.

    A password may contain any character, allowed there or not. So everything before the last ``@``
    is removed, the query and the fragment are removed, and what does not look like hosts and a
    path is removed, too: it may be a password without a host, or the end of one in a query.
    """
    found = _SCHEME.match(url)
    scheme = found[0] if found else ""
    user, at, rest = url[len(scheme) :].rpartition("@")
    cut = re.search(r"[?#]", rest)
    place = rest[: cut.start()] if cut else rest
    shown = place if _PLACE.fullmatch(place) and not re.search(r"[?#]", user) else "…"
    return f"{scheme}{'…@' if at else ''}{shown}{'?…' if cut else ''}"


def is_malformed_url(url: str) -> bool:
    """Return whether a URL has an invalid port, or its hosts end within its password."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        for host in parts.netloc.rpartition("@")[2].split(","):
            _ = urlsplit(f"//{host}").port
    except ValueError:
        return True
    if parts.scheme == "unix" and not parts.netloc:  # then the path may hold an @
        return bool(parts.fragment)
    return bool(parts.fragment) or "@" in parts.path + parts.query


def check_http_url(name: str, url: str, *, may_have_user: bool = False) -> str:
    """Return an HTTP URL without a slash at its end.

    Args:
        name: Its name in a message.
        url: The address.
        may_have_user: Whether it may contain a user and a password, as that of a proxy.

    Raises:
        SettingsError: It is not valid; the message contains no part of a password.
    """
    is_http = url.startswith(("http://", "https://"))
    has_user = "@" in url
    if not is_http or is_malformed_url(url) or (has_user and not may_have_user):
        hint = "Remove the user and the password."
        if may_have_user:
            hint = "Write / ? # @ in a password as %2F %3F %23 %40."
        raise SettingsError(
            f"{name} {redacted_url(url)}: expected http://HOST:PORT or https://HOST:PORT.",
            hint=hint if has_user else "",
        )
    return url.rstrip("/")
