"""Secrets in files, which are read again at each use, so that a new secret needs no restart.

A file that is being replaced is empty, missing or half-written for a moment, or for hours if the disk is
full. A server must never stop requiring a secret. Meanwhile it uses the last valid one, and logs one
error.
"""

from pathlib import Path
from typing import Final, NamedTuple

from cordboard.contract.errors import SettingsError

LENGTH_MIN: Final = 16
"""The minimum length of a secret. 16 random characters of 64 kinds have 96 bits."""

PREVIOUS: Final = "_PREV"
"""The suffix of the names of previous secrets."""


class _Content(NamedTuple):
    """The content of a file.

    Attributes:
        value: The secret; None if there is none.
        fault: Why the file has no usable secret; empty if it has, or needs none.
    """

    value: str | None
    fault: str = ""


_last_valid: dict[tuple[str, str], str | None] = {}
_logged_faults: dict[tuple[str, str], str] = {}


def read(name: str, file: str) -> str | None:
    """Return the secret in a file, or the last valid one if the file has none.

    An empty or missing file of a previous secret (``..._PREV_FILE``) revokes it, so that a leaked secret
    can be refused without a restart. This is safe, because the current secret is still required.

    Args:
        name: The environment variable of the secret, for messages.
        file: The name of the file.

    Raises:
        SettingsError: The file has no secret when it is read for the first time.
    """
    key = (name, file)
    content = _read_file(name, file)
    if not content.fault and content.value and key in _last_valid:
        content = _Content(content.value, _half_written(content.value, _last_valid[key] or ""))
    if not content.fault:
        _log_change(key, "")
        _last_valid[key] = content.value
        return content.value
    if key not in _last_valid:
        raise SettingsError(
            f"{name}_FILE: {file} {content.fault}.",
            hint="Set it to the name of a file that contains the secret and that this user can read.",
        )
    _log_change(key, content.fault)
    return _last_valid[key]


def _read_file(name: str, file: str) -> _Content:
    is_optional = name.endswith(PREVIOUS)
    try:
        value = Path(file).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return _Content(None) if is_optional else _Content(None, "does not exist")
    except OSError as error:
        return _Content(None, f"cannot be read: {error.strerror}")
    except ValueError:
        return _Content(None, "is not text in UTF-8")
    if not value:
        return _Content(None) if is_optional else _Content(None, "is empty")
    return _Content(value)


def _half_written(value: str, last: str) -> str:
    """Return why ``value`` cannot replace the secret ``last``; an empty text if it can.

    A writer that stops half-way leaves the beginning of a secret, and a short beginning can be guessed.
    """
    if value != last and last.startswith(value):
        return "contains only the beginning of the previous secret"
    if len(value) < min(len(last) or LENGTH_MIN, LENGTH_MIN):
        return f"contains {len(value)} characters, too few for the next secret"
    return ""


def _log_change(key: tuple[str, str], fault: str) -> None:
    """Log one line when a file becomes unusable, when the fault changes, and when it is usable again."""
    if _logged_faults.get(key, "") == fault:
        return
    _logged_faults[key] = fault
    from cordboard.emit import get_logger

    log = get_logger("settings")
    name, file = key
    if fault:
        log.error(
            "The file has no usable secret; using the last valid one",
            variable=f"{name}_FILE",
            file=file,
            fault=fault,
            hint="Write the secret to another file, and rename that file to this name.",
        )
    else:
        log.info("The file has a usable secret again", variable=f"{name}_FILE", file=file)
