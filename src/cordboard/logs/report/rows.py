"""Lines as the page embeds them: texts that repeat are said once, a line is a short list of numbers.

A row is ``[time, level, service, tag, context, event, message, source, attribution, rest]``:
microseconds after the first line, then places in tables, then an object of what a line has besides.
Where a table is full, the value itself stands in the row; -1 stands for none.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from cordboard.contract.record import (
    BOOT,
    EPOCH,
    EVENT,
    LEVEL,
    MESSAGE,
    ROOM,
    SERVICE,
    SESSION_ID,
    SPAN_ID,
    TAG,
    TIMESTAMP,
    TRACE_ID,
    USER_ID,
    USER_NAME,
)
from cordboard.logs.report.bounded import HeadTail
from cordboard.logs.report.units import is_canonical, microseconds

LINES_MAX: Final = 50_000
LINES_MAX_CHARS: Final = 24_000_000
TABLE_MAX: Final = 20_000
TABLE_TEXT_MAX: Final = 1_000
"""A longer text is said where it stands: it seldom repeats."""
CONTEXT: Final = (SESSION_ID, USER_ID, USER_NAME, ROOM, EPOCH, TRACE_ID, SPAN_ID, BOOT)
TABLES: Final = (LEVEL, SERVICE, TAG, "context", EVENT, MESSAGE, "source", "attribution")
_SCRIPT_ENDS: Final = re.compile("[<>&\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]")

Row = tuple[int, str]


class RowMaker:
    """Takes records; gives them as JSON for the page, at most LINES_MAX of them."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[str, int]] = {name: {} for name in TABLES}
        self._rows: HeadTail[Row] = HeadTail(LINES_MAX, LINES_MAX_CHARS)
        self._origin: int | None = None
        self._context: tuple[dict[str, Any], Any] = ({}, None)

    @property
    def left_out(self) -> int:
        """Lines of the middle that are not embedded."""
        return self._rows.left_out

    def add(self, record: Mapping[str, Any], source: str, attribution: str) -> None:
        """Take one record, clean already."""
        rest = dict(record)
        row = [
            self._time(rest),
            *(self._text(name, rest) for name in (LEVEL, SERVICE, TAG)),
            self._context_of(rest),
            *(self._text(name, rest) for name in (EVENT, MESSAGE)),
            self._place("source", source),
            self._place("attribution", attribution),
        ]
        if rest:
            row.append(rest)
        text = script_json(row)
        self._rows.add((self._rows.added, text), len(text))

    def data(self) -> str:
        """Return the lines as JSON that may stand inside a script element."""
        tables: dict[str, list[Any]] = {name: list(table) for name, table in self._tables.items()}
        tables["context"] = [json.loads(text) for text in self._tables["context"]]
        numbers = [number for number, _ in self._rows]
        split = next((at for at, number in enumerate(numbers) if number != at), len(numbers))
        head = script_json(
            {"origin": self._origin, "tables": tables, "split": split, "left_out": self.left_out}
        )
        rows = ",\n".join(row for _, row in self._rows)
        return f'{head[:-1]},"rows":[\n{rows}\n]}}'

    def _time(self, rest: dict[str, Any]) -> int | None:
        us = microseconds(rest.get(TIMESTAMP))
        if us is None or not is_canonical(rest[TIMESTAMP]):
            return None
        del rest[TIMESTAMP]
        if self._origin is None:
            self._origin = us
        return us - self._origin

    def _text(self, name: str, rest: dict[str, Any]) -> Any:
        if not isinstance(rest.get(name), str):
            return -1
        return self._place(name, rest.pop(name))

    def _context_of(self, rest: dict[str, Any]) -> Any:
        """Place who speaks; mostly it is who spoke before."""
        context: dict[str, Any] = {key: rest.pop(key) for key in CONTEXT if key in rest}
        before, place = self._context
        if place is not None and context == before and repr(context) == repr(before):
            return place
        place = self._place("context", json.dumps(context), context)
        self._context = (context, place)
        return place

    def _place(self, name: str, text: str, value: Any = None) -> Any:
        """Return a text's place in a table; what it stands for where the table is full."""
        table = self._tables[name]
        if text not in table and (len(table) >= TABLE_MAX or len(text) > TABLE_TEXT_MAX):
            return text if value is None else value
        return table.setdefault(text, len(table))


def script_json(value: Any) -> str:
    """Return JSON that cannot end the script element it stands in, nor hide in it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return _SCRIPT_ENDS.sub(lambda found: f"\\u{ord(found.group()):04x}", text)
