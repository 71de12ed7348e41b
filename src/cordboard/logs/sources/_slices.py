"""Reads a window of a store in slices, each no larger than the store gives whole."""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from cordboard.logs.coverage import Shortfall
from cordboard.logs.timespec import seconds

NANOSECONDS: Final = 1_000_000_000


def nanoseconds(key: bytes) -> int:
    """Return a key of time as nanoseconds since 1970.

    Args:
        key: A timestamp of 27 characters, which is exact to the microsecond.
    """
    return round(seconds(key) * 1_000_000) * 1_000


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
