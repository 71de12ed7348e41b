"""Any value becomes something that JSON can say, and no secret gets through.

The usual record (texts, numbers, short lists under harmless names) passes ``clean_meta`` without a
copy; everything else is rebuilt, bounded in depth, width and length.
"""

import re
from collections.abc import Mapping
from itertools import pairwise
from math import isfinite
from typing import Any, Final

REDACTED: Final = "[redacted]"
TEXT_MAX_CHARS: Final = 8192
DEPTH_MAX: Final = 8
ITEMS_MAX: Final = 256
_NAMES_MAX: Final = 4096
_INT_BITS_MAX: Final = 1024  # longer ones are no number to any reader
_SCALARS: Final = frozenset({str, int, bool, type(None)})

_SECRET_WORDS: Final = frozenset(
    {
        "password",
        "passwd",
        "passphrase",
        "pwd",
        "token",
        "secret",
        "secrets",
        "authorization",
        "cookie",
        "cookies",
        "credential",
        "credentials",
        "apikey",
        "jwt",
        "bearer",
        "accesskey",
        "privatekey",
        "secretkey",
        "signature",
    }
)
_SECRET_PAIRS: Final = frozenset(
    {("api", "key"), ("access", "key"), ("private", "key"), ("secret", "key"), ("auth", "key")}
)
# `token_count` and `secret_type` tell about a secret; they are none.
_TELLS_ABOUT: Final = frozenset(
    {"count", "usage", "limit", "budget", "type", "length", "ttl", "expiry"}
)
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_QUERY_SECRET: Final = re.compile(
    r"([?&;#\s(,][\w.%-]*?"
    r"(?:password|passwd|passphrase|pwd|token|secret|authorization|cookie|credential"
    r"|api[_-]?key|access[_-]?key|signature|jwt)"
    r"[\w.%-]*=)(?!\[redacted\])(?:'[^']*'|\"[^\"]*\"|[^&#;\s\"'<>,)]+)",
    re.IGNORECASE,
)
_TOKEN_SHORT: Final = re.compile(
    r"([?&](?:t|sig|auth|key)=)(?!\[redacted\])[^&#\s\"'<>]+", re.IGNORECASE
)
_USERINFO: Final = re.compile(r"(://[^/\s:@?#]*:)[^/\s@?#]+@")
_BEARER: Final = re.compile(r"\b(Bearer)(\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)

_extra_words: set[str] = set()
_secret_names: dict[str, bool] = {}
_harmless: set[str] = set()


def redact_also(names: tuple[str, ...]) -> None:
    """Add names, of one word or several, that are written as ``[redacted]`` from now on."""
    _extra_words.update("".join(_words(name)) for name in names)
    _secret_names.clear()
    _harmless.clear()


def is_secret_name(name: str) -> bool:
    """Say whether a name looks like that of a secret, in any of the usual spellings."""
    known = _secret_names.get(name)
    if known is None:
        known = _looks_secret(name)
        if len(_secret_names) >= _NAMES_MAX:
            _secret_names.clear()
            _harmless.clear()
        _secret_names[name] = known
        if not known:
            _harmless.add(name)
    return known


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name[:256])]


def _looks_secret(name: str) -> bool:
    words = _words(name)
    if "".join(words) in _extra_words:
        return True
    if words and words[-1] in _TELLS_ABOUT:
        return False
    return not (_SECRET_WORDS.isdisjoint(words) and _SECRET_PAIRS.isdisjoint(pairwise(words)))


def clean_text(text: str, limit: int = TEXT_MAX_CHARS) -> str:
    """Return ``text`` without secrets and lone surrogates, cut to ``limit`` characters."""
    if len(text) > limit:
        text = f"{text[:limit]}… (+{len(text) - limit} characters)"
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode()
    if "=" in text:
        text = _QUERY_SECRET.sub(rf"\1{REDACTED}", text)
        if "?" in text:
            text = _TOKEN_SHORT.sub(rf"\1{REDACTED}", text)
    if "://" in text and "@" in text:
        text = _USERINFO.sub(rf"\1{REDACTED}@", text)
    if "earer " in text:
        text = _BEARER.sub(rf"\1\2{REDACTED}", text)
    return text


def is_plain(mapping: dict[str, Any], depth: int = 0) -> bool:
    """Say whether a mapping may go to the encoder as it is; quick, and on the safe side.

    Texts are not looked at: ``body_json`` looks at all of them at once, when they are encoded.
    """
    for name, value in mapping.items():
        if name not in _harmless and (type(name) is not str or is_secret_name(name)):
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
