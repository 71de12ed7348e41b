"""Any value becomes something that JSON can say, and no secret gets through.

The usual record (texts, numbers, short lists under harmless names) passes ``is_plain`` and goes to
the encoder without a copy; everything else is rebuilt, up to a depth, and up to as much as a line
can hold. Where there is more, the longest texts and lists are cut first, all to the same length.
"""

from collections.abc import Mapping
from itertools import islice
from math import isfinite
from reprlib import repr as short_repr
from typing import Any, Final

from cordboard.contract.record import LINE_MAX_BYTES
from cordboard.contract.redaction import (
    REDACTED,
    is_secret_name,
    plain_names,
    redact,
    reserved_names,
)
from cordboard.emit.truncation import LIMITS, Cuts

TEXT_MAX_CHARS: Final = LINE_MAX_BYTES
DEPTH_MAX: Final = 32
_NAME_MAX_CHARS: Final = 256
_PLAIN_DEPTH: Final = 2
_PLAIN_ITEMS: Final = 64
_PLAIN_CHARS: Final = 4096
_INT_BITS_MAX: Final = 1024  # longer ones are no number to any reader
_SCALARS: Final = frozenset({str, int, bool, type(None)})


class _Walk(Cuts):
    """What a rebuilding has met above, and how many bytes of a line it may still fill."""

    __slots__ = ("above", "items", "left", "text")

    def __init__(self, text: int = TEXT_MAX_CHARS, items: int = TEXT_MAX_CHARS) -> None:
        super().__init__()
        self.above: set[int] = set()
        self.left = LINE_MAX_BYTES
        self.text = text
        self.items = items

    def full(self, items: int) -> bool:
        """Return whether a container of so many items takes no more, and note that it is cut."""
        if self.left > 0 and items < self.items:
            return False
        self.made = True
        return True


def clean_text(text: str, limit: int = TEXT_MAX_CHARS, cuts: Cuts | None = None) -> str:
    """Return ``text`` without secrets and lone surrogates, cut to ``limit`` characters."""
    if type(text) is not str:
        text = str.__str__(text)  # a subclass may do anything
    if len(text) > limit:
        text = f"{text[:limit]}… (+{len(text) - limit} characters)"
        if cuts is not None:
            cuts.made = True
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode()
    return redact(text)


def safe_text(value: object) -> str:
    """Return ``str(value)`` as a plain text, whatever the object does."""
    try:
        return str.__str__(str(value))
    except Exception as error:  # noqa: BLE001 - a broken __str__ is the object's fault
        return f"<{type(value).__name__} whose str raised {type(error).__name__}>"


def is_plain(mapping: dict[str, Any], depth: int = 0) -> bool:
    """Say whether a mapping may go to the encoder as it is; quick, and on the safe side.

    Texts are not looked at: ``body_json`` looks at all of them at once, when they are encoded.
    """
    for name, value in mapping.items():
        if name not in plain_names and (
            type(name) is not str or is_secret_name(name) or name in reserved_names
        ):
            return False
        kind = type(value)
        if kind is str:
            if len(value) > _PLAIN_CHARS:
                return False
        elif kind is int or kind is bool or value is None:
            continue
        elif kind is float:
            if not isfinite(value):
                return False
        elif not _is_plain_container(value, kind, depth):
            return False
    return len(mapping) <= _PLAIN_ITEMS


def _is_plain_container(value: Any, kind: type, depth: int) -> bool:
    if kind is dict:
        return depth < _PLAIN_DEPTH and is_plain(value, depth + 1)
    return kind is list and _is_plain_list(value)


def _is_plain_list(items: list[Any]) -> bool:
    return len(items) <= _PLAIN_ITEMS and all(type(item) in _SCALARS for item in items)


def clean_meta(meta: Mapping[str, Any], cuts: Cuts | None = None) -> dict[str, Any]:
    """Return ``meta`` as JSON can say it, without secrets, and about as long as a line at most.

    Args:
        meta: Any mapping.
        cuts: Learns whether something was cut.
    """
    for text, items in LIMITS:
        walk = _Walk(text, items)
        cleaned = _clean_mapping(meta, 0, walk)
        if walk.left > 0:
            break
    if cuts is not None and walk.made:
        cuts.made = True
    return cleaned


def clean(value: Any, depth: int = 0, walk: _Walk | None = None) -> Any:
    """Return ``value`` as JSON can say it; what it cannot say is written as its ``repr``."""
    walk = walk or _Walk()
    walk.left -= 2  # two bytes are the least that a value and its comma take
    try:
        # By its type: what an object says of its class may be a lie, or an exception.
        if issubclass(type(value), (Mapping, list, tuple)):
            return _clean_container(value, depth, walk)
        said = _clean_scalar(value, walk)
    except Exception:  # noqa: BLE001 - a hostile subclass
        said = safe_repr(value, walk.text, walk)
    if type(said) is str:
        walk.left -= len(said)
    return said


def _clean_scalar(value: Any, walk: _Walk) -> Any:
    kind = type(value)
    if value is None or kind is bool:
        return value
    if issubclass(kind, str):
        return clean_text(value, walk.text, walk)
    if issubclass(kind, int):
        return _clean_int(int.__int__(value), walk)
    if issubclass(kind, float):
        number = float.__float__(value)
        return number if isfinite(number) else repr(number)
    if kind.__module__ == "numpy" and hasattr(value, "item") and value.ndim == 0:
        return _clean_scalar(value.item(), walk)
    return safe_repr(value, walk.text, walk)


def safe_repr(value: object, limit: int = TEXT_MAX_CHARS, cuts: Cuts | None = None) -> str:
    """Return ``repr(value)`` cut and without secrets, whatever the object does."""
    try:
        text = repr(_beginning(value))
    except Exception as error:  # noqa: BLE001 - a broken repr is the object's fault
        return f"<{type(value).__name__} whose repr raised {type(error).__name__}>"
    return clean_text(text, limit, cuts)


def _beginning(value: Any) -> Any:
    """Return as much of a long value as a line can hold: a repr takes its time."""
    kind = type(value)
    if kind in {bytes, bytearray} and len(value) > LINE_MAX_BYTES:
        return value[:LINE_MAX_BYTES]
    if kind in {set, frozenset} and len(value) > LINE_MAX_BYTES:
        return kind(islice(value, LINE_MAX_BYTES))
    return value


def _clean_int(value: int, walk: _Walk) -> int | str:
    bits = value.bit_length()
    if bits <= _INT_BITS_MAX:
        return value
    if bits > 4 * LINE_MAX_BYTES:
        return f"<int of {bits} bits>"
    return clean_text(hex(value), walk.text, walk)


def _clean_container(value: Any, depth: int, walk: _Walk) -> Any:
    if id(value) in walk.above:
        return "[recursive]"
    if depth >= DEPTH_MAX:
        walk.made = True
        return clean_text(short_repr(value))
    walk.above.add(id(value))
    try:
        if issubclass(type(value), Mapping):
            return _clean_mapping(value, depth, walk)
        return _clean_items(value, depth, walk)
    finally:
        walk.above.discard(id(value))


def _clean_items(items: Any, depth: int, walk: _Walk) -> list[Any]:
    cleaned: list[Any] = []
    for item in items:
        if walk.full(len(cleaned)):
            cleaned.append(f"… (+{len(items) - len(cleaned)} items)")
            break
        cleaned.append(clean(item, depth + 1, walk))
    return cleaned


def _clean_mapping(mapping: Mapping[Any, Any], depth: int, walk: _Walk) -> dict[str, Any]:
    cleaned: dict[str, Any] = {}
    for key, value in mapping.items():
        if walk.full(len(cleaned)):
            cleaned["…"] = f"(+{len(mapping) - len(cleaned)} items)"
            break
        name = _clean_name(key, walk)
        walk.left -= len(name)
        cleaned[name] = REDACTED if is_secret_name(name) else clean(value, depth + 1, walk)
    return cleaned


def _clean_name(key: object, walk: _Walk) -> str:
    if issubclass(type(key), str):
        return clean_text(key, _NAME_MAX_CHARS, walk)  # type: ignore[arg-type]
    return safe_repr(key, _NAME_MAX_CHARS, walk)
