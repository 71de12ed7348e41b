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
from cordboard.logs.report.units import microseconds, timestamp

LINES_MAX: Final = 50_000
TABLE_MAX: Final = 20_000
CONTEXT: Final = (SESSION_ID, USER_ID, USER_NAME, ROOM, EPOCH, TRACE_ID, SPAN_ID, BOOT)
TABLES: Final = (LEVEL, SERVICE, TAG, "context", EVENT, MESSAGE, "source", "attribution")
_SCRIPT_ENDS: Final = re.compile("[<>&\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]")

Row = tuple[int, str]


class RowMaker:
    """Takes records; gives them as JSON for the page, at most LINES_MAX of them."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[str, int]] = {name: {} for name in TABLES}
        self._rows: HeadTail[Row] = HeadTail(LINES_MAX)
        self._origin: int | None = None

    @property
    def left_out(self) -> int:
        """Lines of the middle that are not embedded."""
        return self._rows.left_out

    def add(self, record: Mapping[str, Any], source: str, attribution: str) -> None:
        """Take one record, clean already."""
        rest = dict(record)
        us = microseconds(record.get(TIMESTAMP))
        if us is not None and timestamp(us) == record[TIMESTAMP]:
            del rest[TIMESTAMP]
            if self._origin is None:
                self._origin = us
        else:
            us = None
        context = {key: rest.pop(key) for key in CONTEXT if key in rest}
        row: list[Any] = [None if us is None else us - (self._origin or 0)]
        for name in TABLES:
            value = {"context": context, "source": source, "attribution": attribution}.get(
                name, rest.get(name)
            )
            plain = name in {"context", "source", "attribution"} or isinstance(value, str)
            row.append(self._place(name, value) if plain else -1)
            if plain:
                rest.pop(name, None)
        if rest:
            row.append(rest)
        self._rows.add((self._rows.added, script_json(row)))

    def data(self) -> str:
        """Return the lines as JSON that may stand inside a script element."""
        tables = {
            name: [json.loads(text) for text in table] for name, table in self._tables.items()
        }
        numbers = [number for number, _ in self._rows]
        split = next((at for at, number in enumerate(numbers) if number != at), len(numbers))
        head = script_json(
            {"origin": self._origin, "tables": tables, "split": split, "left_out": self.left_out}
        )
        rows = ",\n".join(row for _, row in self._rows)
        return f'{head[:-1]},"rows":[\n{rows}\n]}}'

    def _place(self, name: str, value: Any) -> Any:
        table, key = self._tables[name], json.dumps(value)
        if key not in table and len(table) >= TABLE_MAX:
            return value
        return table.setdefault(key, len(table))


def script_json(value: Any) -> str:
    """Return JSON that cannot end the script element it stands in, nor hide in it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return _SCRIPT_ENDS.sub(lambda found: f"\\u{ord(found.group()):04x}", text)
