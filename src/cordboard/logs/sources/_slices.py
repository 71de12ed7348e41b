"""Parts of a window of a store, what the store returns of one, and how its entries become lines."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, NamedTuple

from cordboard.logs.coverage import Shortfall
from cordboard.logs.formats.codec import encode
from cordboard.logs.timespec import nano_timestamp, seconds
from cordboard.logs.timestamps import own_key

NANOSECONDS: Final = 1_000_000_000
_DAY_S: Final = 86_400

Terms = Mapping[str, str]
"""Texts, one of which a line contains, each with the key of Cordboard's format whose value it is; empty for all lines."""


class StoreError(Exception):
    """A store did not answer as asked.

    Args:
        reason: A key of `cordboard.logs.coverage.REASONS`.
        detail: What it said.
        status: The HTTP status, 0 without an answer.
    """

    def __init__(self, reason: str, detail: str, status: int = 0) -> None:
        super().__init__(detail)
        self.shortfall = Shortfall(reason, detail)
        self.status = status


@contextmanager
def understood() -> Iterator[None]:
    """Make an answer of another form an error of the store: a proxy may send a page for people instead.

    Raises:
        StoreError: The block met something that the answer of such a store does not contain.
    """
    try:
        yield
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        # The error's text would quote what was met.
        detail = f"the response is not that of such a store ({type(error).__name__})"
        raise StoreError("unreadable", detail) from error


class Slice(NamedTuple):
    """A part of a window, in nanoseconds since 1970.

    Attributes:
        begin: The first nanosecond.
        end: The first nanosecond after it.
    """

    begin: int
    end: int

    def halves(self) -> "tuple[Slice, Slice]":
        """Return its two halves."""
        middle = (self.begin + self.end) // 2
        return Slice(self.begin, middle), Slice(middle, self.end)

    def within(self, other: "Slice") -> "Slice":
        """Return the part that is in the slice `other`; an empty one where none is."""
        begin = min(max(self.begin, other.begin), other.end)
        return Slice(begin, max(begin, min(self.end, other.end)))


class Page(NamedTuple):
    """What a store returned of a slice.

    Attributes:
        lines: The lines, in the order of time.
        whole: Whether these are all of them.
    """

    lines: list[bytes]
    whole: bool


def read_slices(
    window: Slice, fetch: Callable[[Slice], Page], shortfalls: list[Shortfall]
) -> Iterator[bytes]:
    """Yield the lines of a window in the order of time.

    A slice that the store does not return whole is halved, so that no cursor is needed, whose lines of one
    moment other clients lose. What cannot be halved, a nanosecond, is named as truncated.

    Args:
        window: What is read.
        fetch: Returns what the store has of a slice.
        shortfalls: Receives what could not be read whole.
    """
    stack = [window]
    while stack:
        part = stack.pop()
        page = fetch(part)
        if page.whole:
            yield from page.lines
        elif part.end - part.begin > 1:
            stack += reversed(part.halves())
        else:
            shortfalls.append(
                Shortfall("truncated", f"more lines at {part.begin} ns than fit in one page")
            )
            yield from page.lines


def nanoseconds(key: bytes) -> int:
    """Return a key of time as nanoseconds since 1970.

    Args:
        key: A timestamp of 27 characters, which is exact to the microsecond.
    """
    return round(seconds(key) * 1_000_000) * 1_000


def length_words(seconds: float) -> str:
    """Return a length of time for people: ``30 days``, ``36 h``, ``90 s``."""
    whole = int(seconds)
    if whole >= 2 * _DAY_S and whole % _DAY_S == 0:
        return f"{whole // _DAY_S} days"
    return f"{whole // 3600} h" if whole and whole % 3600 == 0 else f"{whole} s"


def line_of(nanosecond: int, text: str) -> bytes:
    """Return an entry as a line: its text where that is a line of Cordboard's format, else with its time.

    Args:
        nanosecond: Its time, in nanoseconds since 1970.
        text: What was stored.
    """
    raw = text.encode("utf-8", "replace")
    if own_key(raw) is not None and b"\n" not in raw:
        return raw
    return encode({"log": f"{text}\n", "stream": "stdout", "time": nano_timestamp(nanosecond)})


def quoted(text: str) -> str:
    """Return `text` in quotation marks, as the query languages of Loki and VictoriaLogs write it."""
    return encode(text).decode()
