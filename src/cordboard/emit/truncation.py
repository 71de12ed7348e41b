"""Truncates records that are too long: the longest texts and lists first, all to the same length."""

from typing import Any, Final

import msgspec

from cordboard.contract.record import LINE_MAX_BYTES
from cordboard.emit.json_codec import encode_line

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
"""Characters of a text and items of a list, applied in this order until the line fits.

The first pair truncates nothing that could fit; the last leaves two items of each list and no text,
which fits whatever the record is. One step is at most about four times the next, so that a
truncated line still uses a good part of the space it may take.
"""

# The length of a session id: the keys beside ``meta`` are never truncated below it.
_HEAD_MAX_CHARS: Final = 128
# Names in ``meta`` are never truncated below this: two long names may differ at their ends only.
_NAME_MAX_CHARS: Final = 32


class Truncation:
    """Whether something of a record was truncated; the line then has ``"truncated": true``.

    Attributes:
        happened: True once something was truncated.
    """

    __slots__ = ("happened",)

    def __init__(self) -> None:
        self.happened = False


def truncate_line(line: bytes) -> bytes:
    """Return `line` with ``message``, ``meta`` and ``error`` truncated, so that it fits.

    Args:
        line: A valid line of more than ``LINE_MAX_BYTES`` bytes.
    """
    record: dict[str, Any] = msgspec.json.decode(line)
    # The order of keys is part of the format: boot and seq stay last.
    record |= {"truncated": True, "boot": record.pop("boot"), "seq": record.pop("seq")}
    for max_chars, max_items in LIMITS[1:]:
        line = encode_line(_truncated_record(record, max_chars, max_items))
        if len(line) <= LINE_MAX_BYTES:
            return line
    # A name or a room that consists of control characters, which take six bytes each.
    return encode_line({key: _truncated(record[key], _HEAD_MAX_CHARS, 1) for key in record})


def _truncated_record(record: dict[str, Any], max_chars: int, max_items: int) -> dict[str, Any]:
    result = dict(record)
    result["message"] = _truncated(record["message"], max(max_chars, _HEAD_MAX_CHARS), max_items)
    if "meta" in record:
        result["meta"] = _truncated(record["meta"], max_chars, max_items)
    if "error" in record:
        error = record["error"]
        result["error"] = {key: truncate_middle(error[key], max_chars) for key in error}
    return result


def _truncated(value: Any, max_chars: int, max_items: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= max_chars else f"{value[:max_chars]}…"
    if isinstance(value, dict):
        return _truncated_mapping(value, max_chars, max_items)
    if isinstance(value, list):
        items = [_truncated(item, max_chars, max_items) for item in value[:max_items]]
        return [*items, _rest_note(value, max_items)] if len(value) > max_items else items
    return value


def _truncated_mapping(mapping: dict[str, Any], max_chars: int, max_items: int) -> dict[str, Any]:
    max_name_chars = max(max_chars, _NAME_MAX_CHARS)
    result = {
        _truncated(name, max_name_chars, max_items): _truncated(mapping[name], max_chars, max_items)
        for name in [*mapping][:max_items]
    }
    if len(mapping) > max_items:
        result["…"] = _rest_note(mapping, max_items)
    return result


def _rest_note(container: Any, max_items: int) -> str:
    return f"(+{len(container) - max_items} items)"


def truncate_middle(text: Any, max_chars: int) -> Any:
    """Return `text` with its middle removed: of a stack both ends matter.

    Args:
        text: A text; anything else is returned as it is.
        max_chars: How many characters of it to keep.
    """
    if not isinstance(text, str) or len(text) <= max_chars:
        return text
    # The end of a stack names the failing call, so it gets two thirds.
    tail = text[-max_chars * 2 // 3 :] if max_chars else ""
    return f"{text[: max_chars // 3]}\n… ({len(text) - max_chars} characters)\n{tail}"
