"""Entries with their times: as lists, or, where all are plainly ours, as places in memory.

The places are found by the C part, `cordboard.logs._native`.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from operator import le
from typing import Final, NamedTuple, Protocol

from cordboard.logs.timespec import LOWEST, seconds
from cordboard.logs.timestamps import OWN_KEY

_SECOND: Final = 19  # characters of a key, up to its second
_WORDS: Final = 4  # of a place: two of its key, its beginning, its size
_PLACE_BYTES: Final = 16
_ABSENT: Final = 0x80  # in the highest byte of a size, which is below 16 MiB
_SIZE: Final = (1 << 31) - 1


class Summary(NamedTuple):
    """What lines have in common, and in numbers.

    Attributes:
        service: Who said all of them.
        lines: How many they are.
        absent: How many of them know no session; all others say theirs themselves.
    """

    service: str
    lines: int
    absent: int


class Lines(Protocol):
    """Entries with their times."""

    @property
    def keys(self) -> list[bytes]:
        """When each was said."""

    @property
    def raws(self) -> list[bytes]:
        """The bytes of each."""

    @property
    def first(self) -> bytes:
        """When the first of them was said."""

    @property
    def last(self) -> bytes:
        """When the last of them was said."""

    @property
    def nbytes(self) -> int:
        """How many bytes they are."""

    @property
    def longest(self) -> int:
        """About how many bytes the longest of them is; of lists, the last."""

    @property
    def summary(self) -> Summary | None:
        """What they have in common; None where they have to be looked at singly."""

    def __len__(self) -> int: ...

    def before(self, key: bytes, start: int = 0, /) -> int:
        """Return where the first entry stands that is not earlier than `key`, from the place `start` on."""

    def until(self, key: bytes, start: int = 0, /) -> int:
        """Return where the first entry stands that is later than `key`, from the place `start` on."""

    def part(self, begin: int, end: int, /) -> "Lines":
        """Return the entries from the place `begin` up to, and without, the place `end`."""


class Places:
    """Lines of ours in the order of time, where they stand in the bytes of a block.

    Args:
        data: The bytes.
        places: Of each line four words: two of its time, where it begins, and its size. The highest bit of that
            says that the line knows no session.
        service: Who said all of them, where they need not be looked at singly.
    """

    __slots__ = ("data", "places", "service")

    def __init__(self, data: bytes, places: memoryview, service: str | None) -> None:
        self.data = data
        self.places = places
        self.service = service

    def __len__(self) -> int:
        return len(self.places) // _WORDS

    def _key(self, number: int) -> bytes:
        at = self.places[number * _WORDS + 2]
        return self.data[at + OWN_KEY.start : at + OWN_KEY.stop]

    @property
    def keys(self) -> list[bytes]:
        """When each was said."""
        data = self.data
        return [data[at + OWN_KEY.start : at + OWN_KEY.stop] for at in self.places[2::_WORDS]]

    @property
    def raws(self) -> list[bytes]:
        """The bytes of each."""
        data = self.data
        pairs = zip(self.places[2::_WORDS], self.places[3::_WORDS], strict=True)
        return [data[at : at + (size & _SIZE)] for at, size in pairs]

    @property
    def first(self) -> bytes:
        """When the first of them was said."""
        return self._key(0)

    @property
    def last(self) -> bytes:
        """When the last of them was said."""
        return self._key(len(self) - 1)

    @property
    def nbytes(self) -> int:
        """How many bytes they are."""
        return sum(size & _SIZE for size in self.places[3::_WORDS])

    @property
    def longest(self) -> int:
        """At most how many bytes the longest of them is, within 64 KiB: its third byte is looked at."""
        return (max(self.places.cast("B")[14::_PLACE_BYTES].tobytes(), default=0) + 1) << 16

    @property
    def summary(self) -> Summary | None:
        """What they have in common; None where they have to be looked at singly."""
        if self.service is None:
            return None
        absent = self.places.cast("B")[15::_PLACE_BYTES].tobytes().count(_ABSENT)
        return Summary(self.service, len(self), absent)

    def before(self, key: bytes, start: int = 0, /) -> int:
        """Return where the first entry stands that is not earlier than `key`, from the place `start` on."""
        count = len(self)
        if start < count and self._key(count - 1) < key:  # most often all are asked for, or none
            return count
        if start < count and self._key(start) >= key:
            return start
        return bisect_left(range(count), key, start, key=self._key)

    def until(self, key: bytes, start: int = 0, /) -> int:
        """Return where the first entry stands that is later than `key`, from the place `start` on."""
        count = len(self)
        if start < count and self._key(count - 1) <= key:
            return count
        return bisect_right(range(count), key, start, key=self._key)

    def part(self, begin: int, end: int, /) -> "Places":
        """Return the entries from the place `begin` up to, and without, the place `end`."""
        return Places(self.data, self.places[begin * _WORDS : end * _WORDS], self.service)


class Listed:
    """Entries in any form, as lists; `first`, `last` and places by time are asked of ordered ones.

    Args:
        keys: When each was said.
        raws: The bytes of each.
        service: Who said all of them, where they need not be looked at singly.
        absent: Of each, then, whether it knows no session.
    """

    __slots__ = ("absent", "keys", "raws", "service")

    def __init__(
        self,
        keys: list[bytes],
        raws: list[bytes],
        service: str | None = None,
        absent: Sequence[bool] = (),
    ) -> None:
        self.keys = keys
        self.raws = raws
        self.service = service
        self.absent = absent

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

    @property
    def summary(self) -> Summary | None:
        """What they have in common; None where they have to be looked at singly."""
        if self.service is None:
            return None
        return Summary(self.service, len(self.keys), sum(self.absent))

    def before(self, key: bytes, start: int = 0, /) -> int:
        """Return where the first entry stands that is not earlier than `key`, from the place `start` on."""
        return bisect_left(self.keys, key, start)

    def until(self, key: bytes, start: int = 0, /) -> int:
        """Return where the first entry stands that is later than `key`, from the place `start` on."""
        return bisect_right(self.keys, key, start)

    def part(self, begin: int, end: int, /) -> "Listed":
        """Return the entries from the place `begin` up to, and without, the place `end`."""
        absent = self.absent[begin:end]
        return Listed(self.keys[begin:end], self.raws[begin:end], self.service, absent)

    def sorted(self) -> "Listed":
        """Return them in the order of time; those of one moment stay as they stand."""
        order = sorted(range(len(self.keys)), key=self.keys.__getitem__)
        keys, raws = [self.keys[n] for n in order], [self.raws[n] for n in order]
        return Listed(keys, raws, self.service, [self.absent[n] for n in order if self.absent])


def in_order(keys: Sequence[bytes]) -> bool:
    """Return whether `keys` stand in the order of time."""
    return all(map(le, keys, keys[1:]))


def disorder_s(keys: Sequence[bytes]) -> float:
    """Return by how many seconds one of `keys` stands behind a later one, at most."""
    most, newest = 0.0, LOWEST
    if in_order(keys):
        return most
    for key in keys:
        if key >= newest:
            newest = key
        elif (behind := _behind_s(key, newest)) > most:
            most = behind
    return most


def _behind_s(key: bytes, newest: bytes) -> float:
    if key[:_SECOND] == newest[:_SECOND] and (key[20:26] + newest[20:26]).isdigit():
        return (int(newest[20:26]) - int(key[20:26])) / 1_000_000
    return seconds(newest) - seconds(key)
