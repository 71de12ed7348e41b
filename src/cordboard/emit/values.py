"""Any value becomes something that JSON can say, and no secret gets through.

The usual record (texts, numbers, short lists under harmless names) passes ``clean_meta`` without a
copy; everything else is rebuilt, bounded in depth, width and length.
"""

from collections.abc import Mapping
from math import isfinite
from typing import Any, Final

from cordboard.contract.redaction import REDACTED, harmless_names, is_secret_name, redact

TEXT_MAX_CHARS: Final = 8192
DEPTH_MAX: Final = 8
ITEMS_MAX: Final = 256
_INT_BITS_MAX: Final = 1024  # longer ones are no number to any reader
_SCALARS: Final = frozenset({str, int, bool, type(None)})


def clean_text(text: str, limit: int = TEXT_MAX_CHARS) -> str:
    """Return ``text`` without secrets and lone surrogates, cut to ``limit`` characters."""
    if len(text) > limit:
        text = f"{text[:limit]}… (+{len(text) - limit} characters)"
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode()
    return redact(text)


def is_plain(mapping: dict[str, Any], depth: int = 0) -> bool:
    """Say whether a mapping may go to the encoder as it is; quick, and on the safe side.

    Texts are not looked at: ``body_json`` looks at all of them at once, when they are encoded.
    """
    for name, value in mapping.items():
        if name not in harmless_names and (type(name) is not str or is_secret_name(name)):
            return False
        kind = type(value)
        if kind is str or kind is int or kind is bool or value is None:
            continue
        if kind is float:
            if value - value != 0.0:  # not finite
                return False
        elif kind is dict:
            if depth >= DEPTH_MAX or len(value) > ITEMS_MAX or not is_plain(value, depth + 1):
                return False
        elif kind is not list or not _is_plain_list(value):
            return False
    return len(mapping) <= ITEMS_MAX


def _is_plain_list(items: list[Any]) -> bool:
    return len(items) <= ITEMS_MAX and all(type(item) in _SCALARS for item in items)


def clean_meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``meta`` as JSON can say it, without secrets."""
    return _clean_mapping(meta, 0, {id(meta)})


def clean(value: Any, depth: int = 0, seen: set[int] | None = None) -> Any:
    """Return ``value`` as JSON can say it; what it cannot say is written as its ``repr``."""
    try:
        if isinstance(value, (Mapping, list, tuple)):
            return _clean_container(value, depth, set() if seen is None else seen)
        return _clean_scalar(value)
    except Exception:  # noqa: BLE001 - a hostile subclass
        return safe_repr(value)


def _clean_scalar(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return clean_text(str.__str__(value))
    if isinstance(value, int):
        return _clean_int(int.__int__(value))
    if isinstance(value, float):
        number = float.__float__(value)
        return number if isfinite(number) else repr(number)
    if _is_numpy_scalar(value):
        return _clean_scalar(value.item())
    return safe_repr(value)


def _is_numpy_scalar(value: Any) -> bool:
    return type(value).__module__ == "numpy" and hasattr(value, "item") and value.ndim == 0


def safe_repr(value: object) -> str:
    """Return ``repr(value)`` cut and without secrets, whatever the object does."""
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - a broken repr is the object's fault
        return f"<{type(value).__name__} whose repr raised {type(error).__name__}>"
    return clean_text(text)


def _clean_int(value: int) -> int | str:
    return value if value.bit_length() <= _INT_BITS_MAX else clean_text(hex(value))


def _clean_container(value: Any, depth: int, seen: set[int]) -> Any:
    if id(value) in seen:
        return "[recursive]"
    if depth >= DEPTH_MAX:
        return safe_repr(value)
    seen.add(id(value))
    try:
        if isinstance(value, Mapping):
            return _clean_mapping(value, depth, seen)
        items = [clean(item, depth + 1, seen) for item in value[:ITEMS_MAX]]
        more = len(value) - ITEMS_MAX
        return [*items, f"… (+{more} items)"] if more > 0 else items
    finally:
        seen.discard(id(value))


def _clean_mapping(mapping: Mapping[Any, Any], depth: int, seen: set[int]) -> dict[str, Any]:
    cleaned: dict[str, Any] = {}
    for count, (key, value) in enumerate(mapping.items()):
        if count >= ITEMS_MAX:
            cleaned["…"] = f"(+{len(mapping) - ITEMS_MAX} items)"
            break
        name = clean_text(key, 256) if isinstance(key, str) else safe_repr(key)
        cleaned[name] = REDACTED if is_secret_name(name) else clean(value, depth + 1, seen)
    return cleaned
