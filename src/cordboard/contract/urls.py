"""Showing and checking URLs. A shown URL has no user, no password and no query."""

import re
from typing import Final

from cordboard.contract.errors import SettingsError

ROOT_PATH: Final = r"^(/(?!\.{1,2}(/|\Z))[A-Za-z0-9._~-]+)*\Z"
"""Pattern of a path prefix, such as /voice or /team/voice; "" for none.

Its characters need no escape in a URL, in HTML or in the path of a cookie. The segments ``.`` and ``..``,
which browsers resolve, and empty segments are excluded.
"""

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_HOST: Final = r"(?:\[[0-9A-Fa-f:.]*\]|[A-Za-z0-9._-]*)(?::[0-9]{1,5})?"
# Hosts may be a list, as in URLs of Sentinel and of clusters.
_PLACE: Final = re.compile(rf"{_HOST}(?:,{_HOST})*(?:/[^?#\s]*)?")


def redacted_url(url: str) -> str:
    """Return ``url`` without secrets, for messages and log lines.

    A password may contain any character, even one that URLs do not allow there. So everything before the
    last ``@`` is replaced, as are the query and the fragment, and a rest that does not look like hosts
    and a path: it may be a password without a host, or the end of a password in a query.
    """
    match = _SCHEME.match(url)
    scheme = match[0] if match else ""
    user, at, rest = url[len(scheme) :].rpartition("@")
    cut = re.search(r"[?#]", rest)
    place = rest[: cut.start()] if cut else rest
    shown = place if _PLACE.fullmatch(place) and not re.search(r"[?#]", user) else "…"
    return f"{scheme}{'…@' if at else ''}{shown}{'?…' if cut else ''}"


def is_malformed_url(url: str) -> bool:
    """Return whether ``url`` has an invalid port, or a password with an unquoted delimiter."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        for host in parts.netloc.rpartition("@")[2].split(","):
            _ = urlsplit(f"//{host}").port
    except ValueError:
        return True
    if parts.scheme == "unix" and not parts.netloc:  # the path of a socket may contain an @
        return bool(parts.fragment)
    return bool(parts.fragment) or "@" in parts.path + parts.query


def check_http_url(name: str, url: str, *, may_have_user: bool = False) -> str:
    """Return an HTTP URL without a trailing slash.

    Args:
        name: The name of the setting or option, for messages.
        url: The URL.
        may_have_user: Whether it may contain a user and a password, such as the URL of a proxy.

    Raises:
        SettingsError: It is invalid; the message contains no part of a password.
    """
    is_http = url.startswith(("http://", "https://"))
    has_user = "@" in url
    if not is_http or is_malformed_url(url) or (has_user and not may_have_user):
        hint = "Remove the user and the password."
        if may_have_user:
            hint = "Quote / ? # @ in the password as %2F %3F %23 %40."
        raise SettingsError(
            f"{name} {redacted_url(url)}: expected http://HOST:PORT or https://HOST:PORT.",
            hint=hint if has_user else "",
        )
    return url.rstrip("/")
