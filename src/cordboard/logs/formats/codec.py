"""JSON to values and back: the first lines by the standard library, which is loaded anyhow, many by msgspec.

Importing msgspec takes as long as decoding some thousand lines; a query of one session decodes fifty.
Both read the same: where the standard library would be more tolerant, msgspec decides.
"""

import re
from collections.abc import Callable
from typing import Any, Final

from cordboard.logs.patterns import pattern

_FEW: Final = 1000
_SURROGATES: Final = ("\\ud", "\\uD")  # one half alone is no text; json would take it


class Decoder:
    """Decodes a text, or bytes in UTF-8.

    Args:
        few: How many the standard library decodes.
    """

    __slots__ = ("_error", "_few", "_plain", "_quick")

    def __init__(self, few: int = _FEW) -> None:
        self._few = few
        self._plain: Callable[[str], Any] | None = None
        self._quick: Callable[[bytes | str], Any] | None = None
        self._error: type[Exception] = ValueError

    def __call__(self, text: bytes | str) -> Any:
        """Return the value.

        Raises:
            ValueError: It is no JSON, or no UTF-8.
            RecursionError: It is nested too deeply.
        """
        if (quick := self._quick) is None:
            if self._few > 0:
                self._few -= 1
                return self._slowly(text)
            quick = self._loaded()
        try:
            return quick(text)
        except self._error as error:
            raise ValueError(str(error)) from error

    def _slowly(self, text: bytes | str) -> Any:
        shown = text if isinstance(text, str) else text.decode()
        if any(mark in shown for mark in _SURROGATES):
            return self._by_msgspec(text)
        if self._plain is None:
            from json import JSONDecoder

            self._plain = JSONDecoder(parse_float=_finite, parse_constant=_refused).decode
        try:
            return self._plain(shown)
        except RecursionError:
            return self._by_msgspec(text)

    def _by_msgspec(self, text: bytes | str) -> Any:
        self._loaded()
        return self(text)

    def _loaded(self) -> Callable[[bytes | str], Any]:
        import msgspec

        self._error = msgspec.DecodeError
        self._quick = msgspec.json.Decoder().decode
        return self._quick


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0:
        raise ValueError(f"{text} is out of range")
    return number


def _refused(text: str) -> Any:
    raise ValueError(f"{text} is not valid JSON")


decode: Final = Decoder()

# The standard library's encoder writes these, though JSON has no word for them.
_NO_NUMBER: Final = pattern(r"([:,\[]\s*)(?:NaN|-?Infinity)(?=\s*[,}\]])")


def decode_loosely(text: bytes | str) -> Any:
    """Return the value of `text`; numbers that JSON cannot say are None.

    Raises:
        ValueError: It is no JSON even then.
        RecursionError: It is nested too deeply.
    """
    try:
        return decode(text)
    except ValueError:
        shown = text if isinstance(text, str) else text.decode("utf-8", "replace")
        if "NaN" not in shown and "Infinity" not in shown:
            raise
        return decode(_NO_NUMBER.sub(r"\1null", shown))


def encode(value: Any) -> bytes:
    """Return `value` as compact JSON."""
    import msgspec

    return msgspec.json.encode(value)


_C1: Final = pattern(rb"\xc2[\x80-\x9f]")
_SEPARATORS: Final = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"))


def escaped(data: bytes) -> bytes:
    """Return `data`, which is JSON, without the controls that a terminal obeys, or that part lines.

    JSON allows U+0080 to U+009F, U+2028 and U+2029 as they are; here they become escapes.
    """
    if data.isascii():
        return data
    if b"\xc2" in data:
        data = _C1.sub(_as_escape, data)
    for raw, escape in _SEPARATORS:
        if raw in data:
            data = data.replace(raw, escape)
    return data


def _as_escape(found: re.Match[bytes]) -> bytes:
    return b"\\u%04x" % found.group()[1]
