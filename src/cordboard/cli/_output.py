"""What several commands print: tables, JSON, times and durations."""

import json
import sys
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from cordboard.contract.terminal import escape_controls_in_json, escape_to_one_line

# A table with one such name and one such room still fits into 200 columns.
NAME_MAX: Final = 32
ROOM_MAX: Final = 48


def print_line(text: str) -> None:
    """Print ``text`` and a newline."""
    sys.stdout.write(text + "\n")


def to_json(value: object) -> str:
    """Return ``value`` as one line of JSON, with control characters as JSON escapes."""
    return escape_controls_in_json(json.dumps(value, ensure_ascii=False))


def parse_time(text: str) -> datetime:
    """Return the time in ``text``, which is in the format of RFC 3339; of one that does not exist, the nearest known.

    A line may contain any digits, and a leap second is no time of Python.
    """
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        from cordboard.logs.timespec import seconds

        return datetime.fromtimestamp(seconds(text.encode()), UTC)


def format_local_time(text: str) -> str:
    """Return the RFC 3339 time ``text`` in this machine's zone, as ``2026-11-23 10:11:12``."""
    try:
        return parse_time(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError):  # at either end of all times
        return text[:19].replace("T", " ")


def milliseconds(begin: datetime, text: str) -> float:
    """Return the milliseconds from ``begin`` to the RFC 3339 time ``text``."""
    return (parse_time(text) - begin).total_seconds() * 1000


def format_duration(length_s: float) -> str:
    """Return ``length_s``, a duration in seconds, as ``M:SS``."""
    return f"{int(length_s) // 60}:{int(length_s) % 60:02d}"


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Return ``rows`` as aligned columns, with control characters made visible."""
    safe = [[escape_to_one_line(cell) for cell in row] for row in rows]
    widths = [max(_width(row[i]) for row in safe) for i in range(len(safe[0]))]
    return "\n".join(
        "  ".join(
            cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in safe
    )


def truncate_name(text: str) -> str:
    """Return the name ``text`` for a column, so that a long name leaves room for the other columns."""
    return text if len(text) <= NAME_MAX else text[: NAME_MAX - 1] + "…"


def truncate_room(text: str) -> str:
    """Return the room ``text`` for a column: truncated on a terminal, whole for another program."""
    if len(text) <= ROOM_MAX or not sys.stdout.isatty():
        return text
    return text[: ROOM_MAX - 1] + "…"


def _width(text: str) -> int:
    """Return the number of terminal columns that ``text`` takes."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(unicodedata.combining(letter) > 0 for letter in text)
