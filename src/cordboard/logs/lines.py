"""Entries with their times: as lists, or, where all are plainly ours, as places in memory.

The places are the C part's, `cordboard.logs._lines`: it looks at a block once, where Python counts and
splits.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, Protocol

from cordboard.logs import compiled

_key = itemgetter(0)


class Lines(Protocol):
    """Entries with their times.

    Attributes:
        keys: When each was said.
        raws: The bytes of each.
        first: When the first of them was said.
        last: When the last of them was said.
        nbytes: How many bytes they are.
        longest: How many bytes the longest of them is; of lists, the last.
        summary: The service, how many they are, how many of them know no session; None where they have
            to be looked at singly.
    """

    @property
    def keys(self) -> list[bytes]: ...  # noqa: D102
    @property
    def raws(self) -> list[bytes]: ...  # noqa: D102
    @property
    def first(self) -> bytes: ...  # noqa: D102
    @property
    def last(self) -> bytes: ...  # noqa: D102
    @property
    def nbytes(self) -> int: ...  # noqa: D102
    @property
    def longest(self) -> int: ...  # noqa: D102
    @property
    def summary(self) -> tuple[str, int, int] | None: ...  # noqa: D102

    def __len__(self) -> int: ...

    def before(self, key: bytes, start: int = 0, /) -> int:
        """Return where the first one stands that is not earlier than a key, from a place on."""

    def until(self, key: bytes, start: int = 0, /) -> int:
        """Return where the first one stands that is later than a key, from a place on."""

    def part(self, begin: int, end: int, /) -> "Lines":
        """Return those from one place up to another."""

    def joined(self) -> bytes:
        """Return all of them, each with a newline."""


class Listed:
    """Entries in any form, as lists; `first`, `last` and places by time are asked of ordered ones.

    Args:
        keys: When each was said.
        raws: The bytes of each.
    """

    __slots__ = ("keys", "raws")
    summary = None

    def __init__(self, keys: list[bytes], raws: list[bytes]) -> None:
        self.keys = keys
        self.raws = raws

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def first(self) -> bytes:
        """When the first of them was said."""
        return self.keys[0]

    @property
    def last(self) -> bytes:
        """When the last of them was said."""
        return self.keys[-1]

    @property
    def nbytes(self) -> int:
        """How many bytes they are."""
        return sum(map(len, self.raws))

    @property
    def longest(self) -> int:
        """How many bytes the last of them is: to look at all takes too long."""
        return len(self.raws[-1])

    def before(self, key: bytes, start: int = 0, /) -> int:
        """Return where the first one stands that is not earlier than a key, from a place on."""
        return bisect_left(self.keys, key, start)

    def until(self, key: bytes, start: int = 0, /) -> int:
        """Return where the first one stands that is later than a key, from a place on."""
        return bisect_right(self.keys, key, start)

    def part(self, begin: int, end: int, /) -> "Listed":
        """Return those from one place up to another."""
        return Listed(self.keys[begin:end], self.raws[begin:end])

    def joined(self) -> bytes:
        """Return all of them, each with a newline."""
        return b"\n".join([*self.raws, b""])

    def sorted(self) -> "Listed":
        """Return them in the order of time; those of one moment stay as they stand."""
        pairs = sorted(zip(self.keys, self.raws, strict=True), key=_key)
        return Listed([key for key, _ in pairs], [raw for _, raw in pairs])


class Arranged(NamedTuple):
    """Lines of ours in the order of time, and as they stood where some are of one moment.

    Attributes:
        lines: The lines.
        distinct: None is a copy of another.
        last: When the last one was said, as they stood.
        behind_s: By how many seconds one stood behind a later one, at most; None where nobody looked.
        runs: For each process its numbers, first and last of each run, as they stood; None as above.
    """

    lines: Lines
    distinct: bool
    last: bytes
    behind_s: float | None = None
    runs: Mapping[bytes, Sequence[tuple[int, int]]] | None = None


def surveyed(data: bytes | bytearray, size: int) -> Arranged | None:
    """Return the lines of a block by one look at it; None where not all are plainly ours, or not compiled.

    Args:
        data: Valid UTF-8 up to ``size``.
        size: How many bytes are the block's: whole lines.
    """
    if compiled.lines is None or not isinstance(data, bytes):
        return None
    found = compiled.lines.survey(data, size)
    if found is None:
        return None
    lines, runs, last, behind_s, distinct = found
    return Arranged(lines, distinct, last, behind_s, runs)


def places(several: Sequence[Lines]) -> list[Any] | None:
    """Return lines where all of them are the C part's."""
    part = compiled.lines
    if part is None or not all(type(lines) is part.Lines for lines in several):
        return None
    return several  # type: ignore[return-value]  # as has been seen


def merged_places(several: list[Any]) -> bytes | None:
    """Return such lines in the order of time, joined; None where there are copies among them."""
    lines = compiled.lines.merged(several)
    return None if lines is None else lines.joined()
