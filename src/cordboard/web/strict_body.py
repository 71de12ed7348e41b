"""Bodies of requests: strict types, and only values that every part can encode."""

import math
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

DEPTH_MAX: Final = 100
"""Levels of objects and arrays; no caller needs ten, and some encoders fail at about 500."""

_INTEGER_MIN: Final = -(2**63)
_INTEGER_MAX: Final = 2**64 - 1


class StrictBody(BaseModel):
    """A JSON object with strict types: ``"60"`` is not a number, and ``1`` is not a boolean."""

    model_config = ConfigDict(strict=True)

    @model_validator(mode="before")
    @classmethod
    def _check(cls, data: Any) -> Any:
        if fault := unfit(data):
            raise PydanticCustomError("invalid", fault)
        return data


def unfit(value: object) -> str:
    """Return why a JSON value cannot be forwarded as it is; an empty text if it can.

    Lone surrogates, NaN, infinity and numbers of more than 64 bits are read by Python's
    decoder, but refused by the encoders on the way to a bot.
    """
    waiting = [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        if isinstance(item, dict):
            waiting += [(part, depth + 1) for pair in item.items() for part in pair]
        elif isinstance(item, list):
            waiting += [(part, depth + 1) for part in item]
        elif fault := _unfit_plain(item):
            return fault
        if depth > DEPTH_MAX:
            return f"JSON of more than {DEPTH_MAX} levels is not accepted"
    return ""


def _unfit_plain(item: object) -> str:
    if isinstance(item, str):
        return "" if item.isascii() or _is_whole(item) else "a string contains a lone surrogate"
    if isinstance(item, float):
        return "" if math.isfinite(item) else "NaN and infinity are not JSON numbers"
    if isinstance(item, int) and not _INTEGER_MIN <= item <= _INTEGER_MAX:
        return "a whole number has more than 64 bits"
    return ""


def _is_whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
