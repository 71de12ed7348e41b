"""Secrets in files: read again at each use, so that a new one needs no restart.

A file that is being replaced is empty, missing or half-written for a moment, or for hours if a
disk is full. A server must go on asking for a secret: the last good one is kept, and one error
line says so.
"""

from typing import Final, NamedTuple

from cordboard.contract.errors import SettingsError

LENGTH_MIN: Final = 16
"""Characters; 16 random ones of 64 kinds have 96 bits, which nobody can guess."""

PREVIOUS: Final = "_PREV"


class _Look(NamedTuple):
    """What was found: a value, or the text of a fault."""

    value: str | None
    fault: str = ""


_last_good: dict[tuple[str, str], str | None] = {}
_told: dict[tuple[str, str], str] = {}


def read(name: str, file: str) -> str | None:
    """Return the secret in a file, or the last good one if the file has none.

    An emptied or missing file of a previous secret (``..._PREV_FILE``) means that there is none any
    more, so that a secret that others know can be refused without a restart. This is safe, because
    the current secret is still required.

    Args:
        name: The environment variable of the secret, for messages.
        file: The file's name.

    Raises:
        SettingsError: The file has no secret when it is read for the first time.
    """
    key = (name, file)
    look = _look(name, file)
    if not look.fault and look.value and key in _last_good:
        look = _Look(look.value, _half_written(look.value, _last_good[key] or ""))
    if not look.fault:
        _tell(key, "")
        _last_good[key] = look.value
        return look.value
    if key not in _last_good:
        raise SettingsError(
            f"{name}_FILE: {file} {look.fault}.",
            hint="Set it to the name of a file that has the secret and that this user can read.",
        )
    _tell(key, look.fault)
    return _last_good[key]


def _look(name: str, file: str) -> _Look:
    may_be_absent = name.endswith(PREVIOUS)
    try:
        with open(file, encoding="utf-8") as opened:  # noqa: PTH123 - pathlib takes 4 ms to load
            value = opened.read().strip()
    except FileNotFoundError:
        return _Look(None) if may_be_absent else _Look(None, "does not exist")
    except OSError as error:
        return _Look(None, f"cannot be read: {error.strerror}")
    except ValueError:
        return _Look(None, "is not text in UTF-8")
    if not value:
        return _Look(None) if may_be_absent else _Look(None, "is empty")
    return _Look(value)


def _half_written(value: str, last: str) -> str:
    """Return why a value cannot follow the last good one; an empty text if it can.

    A writer that stops half-way leaves the beginning of a secret. A short beginning could be guessed.
    """
    if value != last and last.startswith(value):
        return "holds only the beginning of the last secret"
    if len(value) < min(len(last) or LENGTH_MIN, LENGTH_MIN):
        return f"holds {len(value)} characters, which is too short to be the next secret"
    return ""


def _tell(key: tuple[str, str], fault: str) -> None:
    """Log one line at each change: to a fault, to another fault, and back."""
    if _told.get(key, "") == fault:
        return
    _told[key] = fault
    from cordboard.emit import get_logger

    log = get_logger("settings")
    name, file = key
    if fault:
        log.error(
            "A file has no usable secret; the last good one is kept",
            variable=f"{name}_FILE",
            file=file,
            fault=fault,
            hint="Write the secret to another file, and rename that file to this name.",
        )
    else:
        log.info("The file has a usable secret again", variable=f"{name}_FILE", file=file)
