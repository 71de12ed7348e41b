"""Turns any value into one that JSON can represent, and removes secrets.

The usual record (texts, numbers, short lists under plain names) passes ``is_plain`` and goes to the
encoder without a copy. Everything else is rebuilt, up to a depth and up to as much as a line can
hold. If there is more, the longest texts and lists are truncated first, all to the same length.
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
from cordboard.emit.truncation import LIMITS, Truncation

TEXT_MAX_CHARS: Final = LINE_MAX_BYTES
"""A longer text does not fit into a line in any case."""
DEPTH_MAX: Final = 32
"""Deeper containers become their short ``repr``; the recursion here stays far from Python's limit."""
_NAME_MAX_CHARS: Final = 256
# These three bounds keep ``is_plain`` short; a record beyond them is rebuilt, which takes longer.
_PLAIN_DEPTH: Final = 2
_PLAIN_ITEMS: Final = 64
_PLAIN_CHARS: Final = 4096
# Longer integers are written in hexadecimal: no reader takes them as a number (a double ends there).
_INT_MAX_BITS: Final = 1024
# An integer whose hexadecimal digits fill a whole line; of longer ones only the size is shown.
_INT_MAX_SHOWN_BITS: Final = 4 * LINE_MAX_BYTES
# The least that a value and its comma take in a line.
_MIN_VALUE_BYTES: Final = 2
_SCALARS: Final = frozenset({str, int, bool, type(None)})


class _Rebuild(Truncation):
    """The state of rebuilding one value.

    Args:
        max_chars: Characters of a text that are kept.
        max_items: Items of a container that are kept.

    Attributes:
        ancestors: The ids of the containers around the current value, to detect recursion.
        bytes_left: How many bytes of a line are left for further values.
    """

    __slots__ = ("ancestors", "bytes_left", "max_chars", "max_items")

    def __init__(self, max_chars: int = TEXT_MAX_CHARS, max_items: int = TEXT_MAX_CHARS) -> None:
        super().__init__()
        self.ancestors: set[int] = set()
        self.bytes_left = LINE_MAX_BYTES
        self.max_chars = max_chars
        self.max_items = max_items

    def stops_at(self, items: int) -> bool:
        """Return whether a container with so many `items` takes no more; note the truncation."""
        if self.bytes_left > 0 and items < self.max_items:
            return False
        self.happened = True
        return True


def clean_text(
    text: str, max_chars: int = TEXT_MAX_CHARS, truncation: Truncation | None = None
) -> str:
    """Return `text` without secrets and lone surrogates, truncated.

    Args:
        text: Any text.
        max_chars: How many characters of it to keep.
        truncation: Set if the text was truncated.
    """
    if type(text) is not str:
        text = str.__str__(text)  # a subclass may override anything
    if len(text) > max_chars:
        text = f"{text[:max_chars]}… (+{len(text) - max_chars} characters)"
        if truncation is not None:
            truncation.happened = True
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode()
    return redact(text)


def safe_text(value: object) -> str:
    """Return ``str(value)`` as a plain text; a `value` whose ``__str__`` fails is described."""
    try:
        return str.__str__(str(value))
    except Exception as error:
        return f"<{type(value).__name__} whose str raised {type(error).__name__}>"


def is_plain(mapping: dict[str, Any], depth: int = 0) -> bool:
    """Return whether `mapping` can be encoded as it is; False if in doubt.

    This is the hot path of each record. Texts are not searched for secrets here: ``body_json``
    searches all of them at once after they are encoded.

    Args:
        mapping: The ``meta`` of a record, or a mapping in it.
        depth: How many mappings are around it.
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


def clean_meta(meta: Mapping[str, Any], truncation: Truncation | None = None) -> dict[str, Any]:
    """Return `meta` as JSON can represent it, without secrets, and at most about a line long.

    Args:
        meta: Any mapping.
        truncation: Set if something was truncated.
    """
    for max_chars, max_items in LIMITS:
        rebuild = _Rebuild(max_chars, max_items)
        cleaned = _clean_mapping(meta, 0, rebuild)
        if rebuild.bytes_left > 0:
            break
    if truncation is not None and rebuild.happened:
        truncation.happened = True
    return cleaned


def clean(value: Any, depth: int = 0, rebuild: _Rebuild | None = None) -> Any:
    """Return `value` as JSON can represent it; anything that it cannot becomes its ``repr``.

    Args:
        value: Any object.
        depth: How many containers are around it.
        rebuild: The state that is shared with these containers.
    """
    rebuild = rebuild or _Rebuild()
    rebuild.bytes_left -= _MIN_VALUE_BYTES
    try:
        # By its type: an object may lie about its ``__class__``, or raise when asked.
        if issubclass(type(value), (Mapping, list, tuple)):
            return _clean_container(value, depth, rebuild)
        result = _clean_scalar(value, rebuild)
    except Exception:  # a subclass of a builtin that overrides what is called above
        result = safe_repr(value, rebuild.max_chars, rebuild)
    if type(result) is str:
        rebuild.bytes_left -= len(result)
    return result


def _clean_scalar(value: Any, rebuild: _Rebuild) -> Any:
    kind = type(value)
    if value is None or kind is bool:
        return value
    if issubclass(kind, str):
        return clean_text(value, rebuild.max_chars, rebuild)
    if issubclass(kind, int):
        return _clean_int(int.__int__(value), rebuild)
    if issubclass(kind, float):
        number = float.__float__(value)
        return number if isfinite(number) else repr(number)  # JSON has no infinity
    if kind.__module__ == "numpy" and hasattr(value, "item") and value.ndim == 0:
        return _clean_scalar(value.item(), rebuild)
    return safe_repr(value, rebuild.max_chars, rebuild)


def safe_repr(
    value: object, max_chars: int = TEXT_MAX_CHARS, truncation: Truncation | None = None
) -> str:
    """Return ``repr(value)`` without secrets, truncated; a ``__repr__`` that fails is described.

    Args:
        value: Any object.
        max_chars: How many characters to keep.
        truncation: Set if the text was truncated.
    """
    try:
        text = repr(_beginning(value))
    except Exception as error:
        return f"<{type(value).__name__} whose repr raised {type(error).__name__}>"
    return clean_text(text, max_chars, truncation)


def _beginning(value: Any) -> Any:
    """Return as much of a long value as a line can hold: the ``repr`` of all of it takes long."""
    kind = type(value)
    if kind in {bytes, bytearray} and len(value) > LINE_MAX_BYTES:
        return value[:LINE_MAX_BYTES]
    if kind in {set, frozenset} and len(value) > LINE_MAX_BYTES:
        return kind(islice(value, LINE_MAX_BYTES))
    return value


def _clean_int(value: int, rebuild: _Rebuild) -> int | str:
    bits = value.bit_length()
    if bits <= _INT_MAX_BITS:
        return value
    if bits > _INT_MAX_SHOWN_BITS:
        return f"<int of {bits} bits>"
    # Not in decimal: that takes time quadratic in the length, and Python refuses it above a limit.
    return clean_text(hex(value), rebuild.max_chars, rebuild)


def _clean_container(value: Any, depth: int, rebuild: _Rebuild) -> Any:
    if id(value) in rebuild.ancestors:
        return "[recursive]"
    if depth >= DEPTH_MAX:
        rebuild.happened = True
        return clean_text(short_repr(value))
    rebuild.ancestors.add(id(value))
    try:
        if issubclass(type(value), Mapping):
            return _clean_mapping(value, depth, rebuild)
        return _clean_items(value, depth, rebuild)
    finally:
        rebuild.ancestors.discard(id(value))


def _clean_items(items: Any, depth: int, rebuild: _Rebuild) -> list[Any]:
    cleaned: list[Any] = []
    for item in items:
        if rebuild.stops_at(len(cleaned)):
            cleaned.append(f"… (+{len(items) - len(cleaned)} items)")
            break
        cleaned.append(clean(item, depth + 1, rebuild))
    return cleaned


def _clean_mapping(mapping: Mapping[Any, Any], depth: int, rebuild: _Rebuild) -> dict[str, Any]:
    cleaned: dict[str, Any] = {}
    for key, value in mapping.items():
        if rebuild.stops_at(len(cleaned)):
            cleaned["…"] = f"(+{len(mapping) - len(cleaned)} items)"
            break
        name = _clean_name(key, rebuild)
        rebuild.bytes_left -= len(name)
        cleaned[name] = REDACTED if is_secret_name(name) else clean(value, depth + 1, rebuild)
    return cleaned


def _clean_name(key: object, rebuild: _Rebuild) -> str:
    if issubclass(type(key), str):
        return clean_text(key, _NAME_MAX_CHARS, rebuild)  # type: ignore[arg-type]
    return safe_repr(key, _NAME_MAX_CHARS, rebuild)
