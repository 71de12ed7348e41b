"""Request bodies with strict types, whose values every component can encode."""

import math
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

DEPTH_MAX: Final = 100
"""Nested levels of objects and arrays. Callers need fewer than ten; some encoders fail at about 500."""

# The range that msgspec encodes: signed and unsigned integers of 64 bits.
_INTEGER_MIN: Final = -(2**63)
_INTEGER_MAX: Final = 2**64 - 1


class StrictBody(BaseModel):
    """A JSON object with strict types: ``"60"`` is not a number, and ``1`` is not a boolean."""

    model_config = ConfigDict(strict=True)

    @model_validator(mode="before")
    @classmethod
    def _check_encodable(cls, data: Any) -> Any:
        if reason := why_not_encodable(data):
            raise PydanticCustomError("invalid", reason)
        return data


def why_not_encodable(value: object) -> str:
    """Return why a JSON value cannot be forwarded to a bot, or an empty string if it can.

    Python's JSON decoder accepts lone surrogates, NaN, infinity and integers of any size. Encoders on
    the way to a bot refuse them, which would be a server error instead of an error of the caller.

    Args:
        value: A decoded JSON value.
    """
    # A loop with a stack, not recursion: the input decides the depth.
    pending = [(value, 0)]
    while pending:
        item, depth = pending.pop()
        if isinstance(item, dict):
            pending += [(part, depth + 1) for pair in item.items() for part in pair]
        elif isinstance(item, list):
            pending += [(part, depth + 1) for part in item]
        elif reason := _why_scalar_not_encodable(item):
            return reason
        if depth > DEPTH_MAX:
            return f"the JSON has more than {DEPTH_MAX} nested levels"
    return ""


def _why_scalar_not_encodable(item: object) -> str:
    if isinstance(item, str):
        # isascii() reads a flag of the string; most strings need no more.
        return "" if item.isascii() or _is_utf8(item) else "a string contains a lone surrogate"
    if isinstance(item, float):
        return "" if math.isfinite(item) else "NaN and infinity are not JSON numbers"
    if isinstance(item, int) and not _INTEGER_MIN <= item <= _INTEGER_MAX:
        return "an integer has more than 64 bits"
    return ""


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
