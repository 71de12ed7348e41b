"""Options of sources: one check of ``[[environments.NAME]]`` for all types."""

from collections.abc import Mapping
from typing import Any, Final

from cordboard.contract.errors import SettingsError

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
            raise SettingsError(f"{source}: {name}: expected {_WORDS[kind]}, got {value!r}.")
        values[name] = value
    return values


def checked_url(source: str, value: str) -> str:
    """Return the URL of a store.

    Args:
        source: The type of the source.
        value: What ``cordboard.toml`` has.

    Raises:
        SettingsError: It is no URL of HTTP, or contains a password: those are read from the environment.
    """
    from urllib.parse import urlsplit  # 1.4 ms of a query's start, which most sources do without

    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise SettingsError(
            f"{source}: url: expected an http or https URL, got {value!r}.",
            hint='Write: url = "http://127.0.0.1:9428".',
        )
    if parts.password:
        raise SettingsError(
            f"{source}: url: a password in the URL would be shown in process lists and logs.",
            hint="Put a token into an environment variable and name it with token_env.",
        )
    return value
