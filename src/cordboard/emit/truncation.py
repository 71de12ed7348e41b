"""Cuts what does not fit into a line: the longest texts and lists first, all to the same length."""

from typing import Any, Final

import msgspec

from cordboard.contract.record import LINE_MAX_BYTES
from cordboard.emit.json_codec import encoded

LIMITS: Final = (
    (LINE_MAX_BYTES, LINE_MAX_BYTES),
    (12_000, 4000),
    (8000, 2000),
    (4000, 600),
    (2000, 300),
    (800, 200),
    (250, 100),
    (64, 50),
    (16, 12),
    (8, 8),
    (4, 6),
    (2, 4),
    (0, 2),
)
"""Characters of a text and items of a list, tried in this order until a line fits."""

_HEAD_CHARS: Final = 128  # a session id's length: what stands beside meta is not cut below this
_NAME_CHARS: Final = 32


class Cuts:
    """Whether something was cut: the line then says ``truncated``."""

    __slots__ = ("made",)

    def __init__(self) -> None:
        self.made = False


def shorten(line: bytes) -> bytes:
    """Cut ``message``, ``meta`` and ``error`` of a line that is too long, and say so."""
    record: dict[str, Any] = msgspec.json.decode(line)
    record |= {"truncated": True, "boot": record.pop("boot"), "seq": record.pop("seq")}
    for text, items in LIMITS[1:]:
        line = encoded(_cut_record(record, text, items))
        if len(line) <= LINE_MAX_BYTES:
            return line
    # A name or a room of control characters, six bytes each.
    return encoded({key: _cut(record[key], _HEAD_CHARS, 1) for key in record})


def _cut_record(record: dict[str, Any], text: int, items: int) -> dict[str, Any]:
    cut = dict(record)
    cut["message"] = _cut(record["message"], max(text, _HEAD_CHARS), items)
    if "meta" in record:
        cut["meta"] = _cut(record["meta"], text, items)
    if "error" in record:
        cut["error"] = {key: middle_cut(said, text) for key, said in record["error"].items()}
    return cut


def _cut(value: Any, text: int, items: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= text else f"{value[:text]}…"
    if isinstance(value, dict):
        return _cut_mapping(value, text, items)
    if isinstance(value, list):
        kept = [_cut(item, text, items) for item in value[:items]]
        return [*kept, _more(value, items)] if len(value) > items else kept
    return value


def _cut_mapping(mapping: dict[str, Any], text: int, items: int) -> dict[str, Any]:
    names = [*mapping][:items]
    kept = {
        _cut(name, max(text, _NAME_CHARS), items): _cut(mapping[name], text, items)
        for name in names
    }
    return {**kept, "…": _more(mapping, items)} if len(mapping) > items else kept


def _more(container: Any, items: int) -> str:
    return f"(+{len(container) - items} items)"


def middle_cut(text: Any, limit: int) -> Any:
    """Return a text cut in its middle: of a stack both ends matter."""
    if not isinstance(text, str) or len(text) <= limit:
        return text
    tail = text[-limit * 2 // 3 :] if limit else ""
    return f"{text[: limit // 3]}\n… ({len(text) - limit} characters)\n{tail}"
