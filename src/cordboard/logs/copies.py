"""Lines that several streams have are given once.

A record of ours is known by its boot and seq, whatever an agent made of its bytes. Any other line is known by its bytes
and its time, and is a copy only of one that another stream has of the same origin: two programs may say the same.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from itertools import compress, count
from operator import eq, itemgetter
from typing import TYPE_CHECKING, Final, Protocol

from cordboard.contract.record import KEYS, TIMESTAMP
from cordboard.logs.entries import Origin, Other
from cordboard.logs.formats.codec import decode
from cordboard.logs.survey import mark_of
from cordboard.logs.timespec import KEY_BYTES
from cordboard.logs.timestamps import tail_at

if TYPE_CHECKING:
    from cordboard.logs.scan import Batch
    from cordboard.logs.stream import Track

_ROUNDED: Final = b"000Z"
_MILLISECOND: Final = slice(0, KEY_BYTES - len(_ROUNDED))

Item = tuple[bytes, bytes, int, bool]
"""A key, an entry's bytes, the number of its lane, and whether a summary has told of it already."""

_key = itemgetter(0)
_END_BYTES: Final = 4096  # files of one size with the same bytes at both ends are copies


_ANY: Final = Origin()


class Counting(Protocol):
    """Counts what is given out.

    Attributes:
        counts: Entries that were ``late`` or a ``duplicate``.
    """

    counts: Counter[str]

    def told(self, batch: "Batch", number: int) -> bool:
        """Count all entries of `batch`, of the lane with this `number`, if it has a summary; return whether it has."""

    def take_back(self, item: Item) -> None:
        """Count `item` no longer: it is a copy, and left out."""

    def differ(self, item: Item) -> None:
        """Take note that `item`, which is left out, has other content than the line that it is a copy of."""


def origins_of(tracks: Sequence["Track"]) -> list[Origin]:
    """Return whose lines each of `tracks` has; a file and a copy of it in its folder are of one origin."""
    same: dict[Origin, Origin] = {}

    def known(origin: Origin) -> Origin:
        while origin in same:
            origin = same[origin]
        return origin

    for alike in _of_one_size(tracks):
        first: dict[tuple[bytes, bytes], Origin] = {}
        for track in alike:
            if (ends := _ends(track)) is not None:
                one, other = first.setdefault(ends, track.origin), track.origin
                if known(one) != known(other):
                    same[known(other)] = known(one)
    return [known(track.origin) for track in tracks]


def _of_one_size(tracks: Sequence["Track"]) -> Iterator[list["Track"]]:
    """Yield the plain files of one folder that have one size, where there are several."""
    found: dict[Hashable, list[Track]] = {}
    for track in tracks:
        if track.kind == "file" and track.byte_reader.can_seek and track.size:
            folder = track.name.rpartition("/")[0]
            found.setdefault((track.source, folder, track.size), []).append(track)
    return (alike for alike in found.values() if len(alike) > 1)


def _ends(track: "Track") -> tuple[bytes, bytes] | None:
    """Return the first and the last bytes of a file; None where it is one line, which two programs may say."""
    head = track.byte_reader.read(0, _END_BYTES)
    if len(head) == track.size and b"\n" not in head[:-1]:
        return None
    return head, track.byte_reader.read(max(0, track.size - _END_BYTES), _END_BYTES)


def is_rounded(other: Other) -> bool:
    """Return whether `other` may be a copy of a line of ours whose time an agent has cut to milliseconds."""
    return other.key.endswith(_ROUNDED) and tail_at(other.raw) >= 0


def once(pool: list[Item], counting: Counting, origins: Sequence[Origin] = ()) -> list[Item]:
    """Return items in the order of time without the copies that other files have of the same lines.

    Copies have the same time; that of a record of ours may be cut to milliseconds.

    Args:
        pool: The items, in the order of time.
        counting: Counts the copies, and is told of each.
        origins: Whose lines each lane has.
    """
    keys = list(map(_key, pool))
    kept: list[Item] = []
    done = 0
    for begin, end in _longest([*_same(keys), *_cut_to_milliseconds(keys)]):
        group = pool[begin:end]
        distinct = _distinct(_without_rounded(group, counting), counting, origins)
        kept += pool[done:begin]
        kept += distinct
        for item in _without(group, distinct):
            counting.take_back(item)
        done = end
    kept += pool[done:]
    counting.counts["duplicate"] += len(pool) - len(kept)
    return kept


def _longest(groups: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield groups in order, but none that another one holds."""
    done = 0
    for begin, end in sorted(groups, key=lambda group: (group[0], -group[1])):
        if begin >= done:
            done = end
            yield begin, end


def _same(keys: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Yield where items of one time begin and end."""
    done = 0
    for begin in compress(count(), map(eq, keys, keys[1:])):
        if begin >= done:
            done = bisect_right(keys, keys[begin], begin)
            yield begin, done


def _cut_to_milliseconds(keys: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Yield where items of one millisecond begin and end, of which the first one's time may have been cut to it."""
    joined = b"".join(keys)
    at = joined.find(_ROUNDED)
    while at >= 0:
        begin = at // KEY_BYTES
        end = bisect_right(keys, keys[begin], begin)
        moment = keys[begin][_MILLISECOND]
        if end < len(keys) and keys[end].startswith(moment):
            end = bisect_right(keys, moment + b"999Z", end)
            yield begin, end
        at = joined.find(_ROUNDED, end * KEY_BYTES)


def _is_numbered(item: Item) -> bool:
    return mark_of(item[1]) is not item[1]


def _without_rounded(group: list[Item], counting: Counting) -> list[Item]:
    """Return the items of a millisecond without copies, in other streams, whose times were cut to it."""
    first = group[0][0]
    if group[-1][0] == first:
        return group
    exact = {mark_of(item[1]): item for item in group if item[0] != first and _is_numbered(item)}
    kept = []
    for item in group:
        other = exact.get(mark_of(item[1])) if item[0] == first else None
        if other is None or other[2] == item[2]:
            kept.append(item)
        else:
            _compare(other, item, counting)
    return kept


def _without(group: list[Item], kept: list[Item]) -> list[Item]:
    ids = {id(item) for item in kept}
    return [item for item in group if id(item) not in ids]


def _distinct(group: list[Item], counting: Counting, origins: Sequence[Origin] = ()) -> list[Item]:
    """Return the items of one time, or of one millisecond, without copies."""
    numbered: dict[bytes, Item] = {}
    texts = _Texts(origins)
    kept = []
    for item in group:
        mark = mark_of(item[1])
        if mark is item[1]:
            if texts.is_new(item):
                kept.append(item)
        elif (first := numbered.setdefault(item[0] + mark, item)) is item:
            kept.append(item)
        else:
            _compare(first, item, counting)
    return [item for item in kept if not _is_cut_copy(item, kept)]


class _Texts:
    """Tells copies of lines without numbers, by how often each stream has them.

    Of one origin, the stream that has a line most often has all of them; of one source, the origins have them
    together; and of several sources, the one that has the most has all of them.

    Args:
        origins: Whose lines each lane has.
    """

    __slots__ = ("_most", "_of_source", "_origins", "_told", "_total")

    def __init__(self, origins: Sequence[Origin]) -> None:
        self._origins = origins
        self._told: Counter[tuple[tuple[bytes, bytes], int]] = Counter()
        self._most: Counter[tuple[tuple[bytes, bytes], Origin]] = Counter()
        self._of_source: Counter[tuple[tuple[bytes, bytes], Hashable]] = Counter()
        self._total: Counter[tuple[bytes, bytes]] = Counter()

    def is_new(self, item: Item) -> bool:
        """Return whether `item` is a line of which those before it are no copies."""
        key, raw, number, _ = item
        said = (key, raw)
        origin = self._origins[number] if number < len(self._origins) else _ANY
        self._told[said, number] += 1
        if self._told[said, number] <= self._most[said, origin]:
            return False
        self._most[said, origin] += 1
        self._of_source[said, origin.source] += 1
        if self._of_source[said, origin.source] <= self._total[said]:
            return False
        self._total[said] += 1
        return True


def _compare(kept: Item, item: Item, counting: Counting) -> None:
    """Tell of a copy that has other content than the line which is kept: an agent may have changed it."""
    if kept[1] != item[1] and _differs(kept[1], item[1]):
        counting.differ(item)


def _differs(one: bytes, other: bytes) -> bool:
    """Return whether two lines of ours say different things under a key that both have."""
    try:
        first, second = (decode(raw.partition(b"\n")[0]) for raw in (one, other))
    except (ValueError, RecursionError):
        return False
    return any(
        first[name] != second[name]
        for name in KEYS
        if name != TIMESTAMP and name in first and name in second
    )


def _is_cut_copy(item: Item, group: Collection[Item]) -> bool:
    """Say whether an entry is the first part of another one: its file was copied in mid-line."""
    key, raw, number, _ = item
    return (
        raw.startswith(b"{")
        and not raw.endswith(b"}")
        and any(
            number != n and k == key and len(r) > len(raw) and r.startswith(raw)
            for k, r, n, _ in group
        )
    )
