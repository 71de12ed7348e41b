"""What several commands print: tables, JSON and times."""

import json
import sys
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from cordboard.contract.terminal import escape_controls_in_json, escape_to_one_line

NAME_MAX: Final = 32
ROOM_MAX: Final = 48


def print_line(text: str) -> None:
    """Print text."""
    sys.stdout.write(text + "\n")


def to_json(value: object) -> str:
    """Return a value as one line of JSON."""
    return escape_controls_in_json(json.dumps(value, ensure_ascii=False))


def parse_time(text: str) -> datetime:
    """Return the time that an RFC 3339 text names."""
    return datetime.fromisoformat(text)


def format_local_time(text: str) -> str:
    """Return a time as a person here would write it."""
    return parse_time(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as aligned columns; what could steer a terminal is made visible."""
    safe = [[escape_to_one_line(cell) for cell in row] for row in rows]
    widths = [max(_width(row[i]) for row in safe) for i in range(len(safe[0]))]
    return "\n".join(
        "  ".join(
            cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in safe
    )


def truncate_name(text: str) -> str:
    """Return a name for a column: one of a thousand letters would push all others off the screen."""
    return text if len(text) <= NAME_MAX else text[: NAME_MAX - 1] + "…"


def truncate_room(text: str) -> str:
    """Return a room's name for a column: whole for another program, truncated for a terminal."""
    fits = len(text) <= ROOM_MAX or not sys.stdout.isatty()
    return text if fits else text[: ROOM_MAX - 1] + "…"


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(unicodedata.combining(letter) > 0 for letter in text)
