"""Options of sources: one check of ``[[environments.NAME]]`` for all types."""

import re
from collections.abc import Mapping
from typing import Any, Final

from cordboard.contract.errors import SettingsError
from cordboard.contract.urls import is_malformed_url, redacted_url

_UNSENDABLE: Final = re.compile(r"[^\x21-\x7e]")
_KINDS: Final[Mapping[type, str]] = {str: "a string", list: "a list", dict: "a table"}
_WORDS: Final[Mapping[type, str]] = {
    str: "a string",
    bool: "true or false",
    int: "a whole number",
    list: "a list of strings",
}


def checked(source: str, options: Mapping[str, Any], **kinds: type) -> dict[str, Any]:
    """Return the value of each option that a type of source has; an empty one for those that are not set.

    Args:
        source: The type of the source.
        options: The options of an entry of ``[environments]``.
        kinds: The type of each option's value: ``str``, ``bool``, ``int``, ``list``, of strings, or ``object``
            for a value that the source checks itself.

    Raises:
        SettingsError: An option is unknown, or its value is of another type.
    """
    for name in options:
        if name not in kinds:
            raise SettingsError(
                f"{source}: unknown option {name!r}.", hint=f"The options are {', '.join(kinds)}."
            )
    values = {}
    for name, kind in kinds.items():
        value = options.get(name, kind())
        fits = kind is object or type(value) is kind
        if not fits or (kind is list and not all(isinstance(item, str) for item in value)):
            raise SettingsError(f"{source}: {name}: expected {_WORDS[kind]}, got {_shown(value)}.")
        values[name] = value
    return values


def checked_url(source: str, value: str, option: str = "url") -> str:
    """Return the URL of a store.

    Args:
        source: The type of the source.
        value: What ``cordboard.toml`` has.
        option: The option's name.

    Raises:
        SettingsError: It is no URL of HTTP, or contains a password: those are read from the environment.
    """
    from urllib.parse import urlsplit  # 1.4 ms of a query's start, which most sources do without

    try:
        parts = urlsplit(value)
        is_http = parts.scheme in {"http", "https"} and bool(parts.hostname)
        has_password = bool(parts.password) or "@" in parts.path + parts.query + parts.fragment
    except ValueError:  # brackets that are no address
        is_http, has_password = False, False
    if not is_http or (not has_password and is_malformed_url(value)):
        raise SettingsError(
            f"{source}: {option}: expected an http or https URL, got {redacted_url(value)!r}.",
            hint=f'Write: {option} = "http://127.0.0.1:9428".',
        )
    if has_password:
        raise SettingsError(
            f"{source}: {option}: a password in the URL would be shown in process lists and logs.",
            hint="Put a token into an environment variable and name it with token_env.",
        )
    if _UNSENDABLE.search(value):
        raise SettingsError(f"{source}: {option}: spaces and control characters are not allowed.")
    return value


def checked_header(source: str, option: str, value: str) -> str:
    """Return a value that is sent as a header.

    Args:
        source: The type of the source.
        option: The option's name.
        value: What ``cordboard.toml`` has.

    Raises:
        SettingsError: It contains a character that a header cannot have.
    """
    if _UNSENDABLE.search(value):
        raise SettingsError(
            f"{source}: {option}: spaces, control characters and characters beyond ASCII are not allowed."
        )
    return value


def _shown(value: object) -> str:
    """Return a value for a message: a text, a list or a table may contain a password."""
    return repr(value) if isinstance(value, bool | int | float) else _KINDS.get(type(value), "none")
