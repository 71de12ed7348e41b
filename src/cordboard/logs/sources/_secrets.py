"""Secrets of sources: how they are read, and how no message shows them.

The errors of Python's HTTP client quote the header or the URL that they refuse, so their texts are shown only where
they cannot contain either.
"""

import os
import re
from base64 import b64encode
from typing import Final

from cordboard.contract.errors import SettingsError
from cordboard.logs.sources._slices import StoreError

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SENDABLE: Final = re.compile(r"[\x20-\x7e]*")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_HIDDEN: Final = "…"
_SHORT_CHARS: Final = 4  # a shorter secret would be found by chance


class Secret:
    """A token, or the password of a user, which is read from the environment for each request.

    Args:
        variable: The environment variable; empty for none.
        user: The name for basic authentication; empty for a bearer token.
    """

    def __init__(self, variable: str, user: str = "") -> None:
        self._variable = variable
        self._user = user

    @property
    def identity(self) -> str:
        """The identity of the requests, for people."""
        if not self._variable:
            return "without a credential"
        missing = "" if self._value() else ", which is not set"
        return f"as {self._user or 'the owner of the token'} with {self._variable}{missing}"

    def header(self) -> dict[str, str]:
        """Return the header with the secret, if there is one.

        Raises:
            StoreError: The secret cannot be sent; the message does not contain it.
        """
        if not self._variable:
            return {}
        value = self._value()
        fits = not _CONTROL.search(value) if self._user else _SENDABLE.fullmatch(value) is not None
        if not fits:
            what = "a control character" if _CONTROL.search(value) else "a character beyond ASCII"
            raise StoreError("forbidden", f"the value of {self._variable} contains {what}")
        if self._user:
            return {"Authorization": f"Basic {self._basic(value)}"}
        return {"Authorization": f"Bearer {value}"}

    def removed_from(self, text: str) -> str:
        """Return `text`, which a server sent, without the secret: some servers repeat what they refuse."""
        value = self._value()
        if len(value) < _SHORT_CHARS:
            return text
        return text.replace(value, _HIDDEN).replace(self._basic(value), _HIDDEN)

    def _value(self) -> str:
        # A secret that was read from a file usually ends with a newline.
        return os.environ.get(self._variable, "").rstrip("\r\n") if self._variable else ""

    def _basic(self, value: str) -> str:
        # The environment has bytes that are no text as surrogates.
        return b64encode(f"{self._user}:{value}".encode("utf-8", "surrogateescape")).decode()


def words_of(error: Exception) -> str:
    """Return what an error of a request says, without a value of the request.

    The system's errors name no header and no URL. All others are named by their type alone.
    """
    reason = getattr(error, "reason", error)
    if isinstance(reason, OSError):
        return reason.strerror or str(reason) or type(reason).__name__
    return type(reason if isinstance(reason, Exception) else error).__name__


def checked_variable(source: str, option: str, value: str) -> str:
    """Return the name of an environment variable.

    Args:
        source: The type of the source.
        option: The option's name.
        value: What ``cordboard.toml`` has.

    Raises:
        SettingsError: It is no such name; the message does not contain it, as it may be the secret itself.
    """
    if value and not _VARIABLE.fullmatch(value):
        raise SettingsError(
            f"{source}: {option}: expected the name of an environment variable.",
            hint=f'Put the secret into a variable and name it: {option} = "STORE_TOKEN".',
        )
    return value
