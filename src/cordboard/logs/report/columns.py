"""Plain text of at most 100 columns, without a character that steers a terminal."""

import unicodedata
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from cordboard.logs.report.entry import one_line, visible

COLUMNS: Final = 100


def wrapped(text: str, indent: str = "", hanging: str | None = None) -> Iterator[str]:
    """Give `text` in lines of at most COLUMNS columns; wide characters count as two.

    Args:
        text: The text, of any number of lines.
        indent: What the first line begins with.
        hanging: What the others begin with; by default `indent`.
    """
    start = indent
    for paragraph in visible(text).replace("\t", "    ").split("\n"):
        rest = paragraph
        while True:
            at = _fits(rest, COLUMNS - width(start))
            if at < len(rest):
                space = rest.rfind(" ", 0, at + 1)
                at = space if space > at // 3 else at
            yield (start + rest[:at]).rstrip()
            start = indent if hanging is None else hanging
            rest = rest[at:].lstrip(" ")
            if not rest:
                break


def width(text: str) -> int:
    """Return how many columns `text` takes."""
    return len(text) if text.isascii() else sum(map(_wide, text))


def _wide(character: str) -> int:
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def _fits(text: str, room: int) -> int:
    """Return how many characters of a text fit; at least one, so that each line takes some."""
    head = text[: max(room, 1)]
    if head.isascii():
        return max(len(head), 1)
    return max(sum(end <= room for end in accumulate(map(_wide, head))), 1)


def padded(text: str, columns: int) -> str:
    """Return `text` on one line, cut or filled to so many `columns`."""
    flat = one_line(text)
    if width(flat) > columns:
        flat = flat[: _fits(flat, columns - 1)] + "…"
    return flat + " " * (columns - width(flat))


def title(text: str) -> tuple[str, str, str]:
    """Return the lines above a section whose title is `text`."""
    return "", text, "-" * width(text)
