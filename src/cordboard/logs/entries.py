"""Entries with their times: as lists, or, where most are plainly ours, as places in memory.

The places are found by the C part, `cordboard.logs._native`.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Iterator, Sequence
from operator import le
from typing import Final, NamedTuple, Protocol

from cordboard.logs.timespec import LOWEST, seconds
from cordboard.logs.timestamps import OWN_KEY

_SECOND: Final = 19  # characters of a key, up to its second
_WORDS: Final = 4  # of a place: two of its key, its beginning, its size
_PLACE_BYTES: Final = 16
_SIZE: Final = (1 << 30) - 1
_KIND_BITS: Final = 24  # a kind stands above so many bits of a size

OTHER: Final = 0x40
"""The kind of an entry that is not plainly ours; of a place, in the highest byte of its size, which is below 16 MiB."""

ABSENT: Final = 0x80
"""The kind of a line of ours that knows no session; all others say theirs themselves."""


class Summary(NamedTuple):
    """What lines of ours have in common, and in numbers; others among them are not counted.

    Attributes:
        service: Who said all of them.
        lines: How many they are.
        absent: How many of them know no session; the rest say theirs themselves.
        first: When the first of them was said.
        last: When the last of them was said.
    """

    service: str
    lines: int
    absent: int
    first: bytes
    last: bytes


class Origin(NamedTuple):
    """Whose lines a lane has.

    Attributes:
        source: Where they are kept. Two sources may have copies of the same lines.
        writer: Who wrote them. In one source, lines of two writers are no copies of each other.
    """

    source: Hashable = None
    writer: Hashable = None


class Other(NamedTuple):
    """An entry that is not plainly ours, among lines that are.

    Attributes:
        before: How many of those stand before it.
        key: When it was said.
        raw: Its bytes.
    """

    before: int
    key: bytes
    raw: bytes


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
    def service(self) -> str | None:
        """Who said all that are plainly ours; None where they have to be looked at singly."""

    @property
    def kinds(self) -> bytes:
        """Of each that a summary can tell of, whether it is `OTHER`, `ABSENT`, or neither."""

    def __len__(self) -> int: ...

    def key(self, number: int, /) -> bytes:
        """Return when the entry with this `number` was said."""

    def before(self, key: bytes, start: int = 0, /) -> int:
        """Return where the first entry stands that is not earlier than `key`, from the place `start` on."""

    def until(self, key: bytes, start: int = 0, /) -> int:
        """Return where the first entry stands that is later than `key`, from the place `start` on."""

    def part(self, begin: int, end: int, /) -> "Lines":
        """Return the entries from the place `begin` up to, and without, the place `end`."""


class Places:
    """Lines of ours, where they stand in the bytes of a block, and others among them.

    Args:
        data: The bytes.
        places: Of each line four words: two of its time, where it begins, and its size with its kind; of one of the
            others, its number instead of where it begins.
        service: Who said all of ours, where they need not be looked at singly.
        others: The others.
    """

    __slots__ = ("data", "others", "places", "service")

    def __init__(
        self, data: bytes, places: memoryview, service: str | None, others: list[Other]
    ) -> None:
        self.data = data
        self.places = places
        self.service = service
        self.others = others

    def __len__(self) -> int:
        return len(self.places) // _WORDS

    def key(self, number: int, /) -> bytes:
        """Return when the entry with this `number` was said."""
        at = self.places[number * _WORDS + 2]
        if self.others and self.places[number * _WORDS + 3] >> _KIND_BITS & OTHER:
            return self.others[at].key
        return self.data[at + OWN_KEY.start : at + OWN_KEY.stop]

    @property
    def kinds(self) -> bytes:
        """Of each that a summary can tell of, whether it is `OTHER`, `ABSENT`, or neither."""
        return self.places.cast("B")[15::_PLACE_BYTES].tobytes()

    def _among(self) -> Iterator[tuple[int, Other]]:
        """Yield the others, each with its number among all."""
        if self.others:
            places = self.places
            for number, kind in enumerate(self.kinds):
                if kind & OTHER:
                    yield number, self.others[places[number * _WORDS + 2]]

    @property
    def keys(self) -> list[bytes]:
        """When each was said."""
        data = self.data
        keys = [data[at + OWN_KEY.start : at + OWN_KEY.stop] for at in self.places[2::_WORDS]]
        for number, other in self._among():
            keys[number] = other.key
        return keys

    @property
    def raws(self) -> list[bytes]:
        """The bytes of each."""
        data = self.data
        pairs = zip(self.places[2::_WORDS], self.places[3::_WORDS], strict=True)
        raws = [data[at : at + (size & _SIZE)] for at, size in pairs]
        for number, other in self._among():
            raws[number] = other.raw
        return raws

    @property
    def first(self) -> bytes:
        """When the first of them was said."""
        return self.key(0)

    @property
    def last(self) -> bytes:
        """When the last of them was said."""
        return self.key(len(self) - 1)

    @property
    def nbytes(self) -> int:
        """How many bytes they are."""
        return sum(size & _SIZE for size in self.places[3::_WORDS])

    @property
    def longest(self) -> int:
        """At most how many bytes the longest of them is, within 64 KiB: its third byte is looked at."""
        return (max(self.places.cast("B")[14::_PLACE_BYTES].tobytes(), default=0) + 1) << 16

    def before(self, key: bytes, start: int = 0, /) -> int:
        """Return where the first entry stands that is not earlier than `key`, from the place `start` on."""
        count = len(self)
        if start < count and self.key(count - 1) < key:  # most often all are asked for, or none
            return count
        if start < count and self.key(start) >= key:
            return start
        return bisect_left(range(count), key, start, key=self.key)

    def until(self, key: bytes, start: int = 0, /) -> int:
        """Return where the first entry stands that is later than `key`, from the place `start` on."""
        count = len(self)
        if start < count and self.key(count - 1) <= key:
            return count
        return bisect_right(range(count), key, start, key=self.key)

    def part(self, begin: int, end: int, /) -> "Places":
        """Return the entries from the place `begin` up to, and without, the place `end`."""
        return Places(
            self.data, self.places[begin * _WORDS : end * _WORDS], self.service, self.others
        )


class Listed:
    """Entries in any form, as lists; `first`, `last` and places by time are asked of ordered ones.

    Args:
        keys: When each was said.
        raws: The bytes of each.
        service: Who said all that are plainly ours, where they need not be looked at singly.
        kinds: Of each, then, its kind.
    """

    __slots__ = ("keys", "kinds", "raws", "service")

    def __init__(
        self,
        keys: list[bytes],
        raws: list[bytes],
        service: str | None = None,
        kinds: bytes = b"",
    ) -> None:
        self.keys = keys
        self.raws = raws
        self.service = service
        self.kinds = kinds

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

    def key(self, number: int, /) -> bytes:
        """Return when the entry with this `number` was said."""
        return self.keys[number]

    def before(self, key: bytes, start: int = 0, /) -> int:
        """Return where the first entry stands that is not earlier than `key`, from the place `start` on."""
        return bisect_left(self.keys, key, start)

    def until(self, key: bytes, start: int = 0, /) -> int:
        """Return where the first entry stands that is later than `key`, from the place `start` on."""
        return bisect_right(self.keys, key, start)

    def part(self, begin: int, end: int, /) -> "Listed":
        """Return the entries from the place `begin` up to, and without, the place `end`."""
        kinds = self.kinds[begin:end]
        return Listed(self.keys[begin:end], self.raws[begin:end], self.service, kinds)

    def sorted(self) -> "Listed":
        """Return them in the order of time; those of one moment stay as they stand."""
        order = sorted(range(len(self.keys)), key=self.keys.__getitem__)
        keys, raws = [self.keys[n] for n in order], [self.raws[n] for n in order]
        return Listed(keys, raws, self.service, bytes(self.kinds[n] for n in order if self.kinds))


def summary_of(lines: Lines) -> Summary | None:
    """Return what those `lines` have in common that are plainly ours; None where all have to be looked at singly."""
    kinds = lines.kinds
    absent = kinds.count(ABSENT)
    count = kinds.count(0) + absent
    if lines.service is None or not count:
        return None
    numbers = range(len(kinds))
    first, last = (
        next(lines.key(number) for number in those if not kinds[number] & OTHER)
        for those in (numbers, reversed(numbers))
    )
    return Summary(lines.service, count, absent, first, last)


def with_others(lines: Lines, others: Sequence[Other]) -> Listed:
    """Return `lines` as they stand, with `others` at their places among them."""
    keys, raws, kinds = [*lines.keys], [*lines.raws], bytearray(lines.kinds)
    for other in reversed(others):
        keys.insert(other.before, other.key)
        raws.insert(other.before, other.raw)
        kinds.insert(other.before, OTHER)
    return Listed(keys, raws, lines.service, bytes(kinds))


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
