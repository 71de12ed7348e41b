"""The inner loop: what a block of lines tells by one look at it. In C where that was compiled, else in Python.

`survey` finds the lines of a block that are plainly in our own form, with their times, numbers and speakers,
without a line being decoded; `ordered` puts others among them. `numbers` is for lines in any form. `peek` is for one
line.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import compress, count, groupby, pairwise
from operator import eq, itemgetter
from typing import Final, NamedTuple

from stringzilla import count as find_count

from cordboard.contract.record import SERVER_PREFIX
from cordboard.logs.entries import (
    ABSENT,
    OTHER,
    Lines,
    Listed,
    Other,
    Places,
    disorder_s,
    in_order,
    with_others,
)
from cordboard.logs.formats.decode import is_text
from cordboard.logs.line import Attribution
from cordboard.logs.patterns import pattern
from cordboard.logs.timestamps import OWN_ERROR, OWN_LINE, OWN_START, tail_at

try:
    from cordboard.logs import _native as native
except ImportError:  # `hatch_build.py` found no compiler
    native = None  # type: ignore[assignment]
if not hasattr(native, "passed"):  # an older version's part answers otherwise
    native = None  # type: ignore[assignment]

Run = tuple[int, int]
"""Numbers from the first to the last one, all seen."""

Runs = Mapping[bytes, Sequence[Run]]
"""For each process the runs of its lines' numbers, as they stand."""

_RAW: Final = (b',"raw":true', b',"raw":true,"truncated":true')
_SERVICE: Final = b'"service":"'
_SESSION: Final = b'"sessionId":"'
_SERVER: Final = SERVER_PREFIX.encode()
# Each line is one match; the groups take part in those of lines that are ours.
_LINE: Final = pattern(
    rb'^(?:\{"timestamp":"(2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)".*?"service":"([^"\n]*)'
    rb'".*?"sessionId":"(server:)?.*,"boot":"([0-9a-f]{8})","seq":(\d{1,18})\}$|.*$)',
    re.MULTILINE,
)
_NUMBER: Final = pattern(rb',"boot":"([0-9a-f]{8})","seq":(\d{1,18})\}\r?$', re.MULTILINE)

_OWN_SEAM: Final = OWN_LINE + b"2"

Peek = tuple[str, Attribution]
"""The service, and how the line's session is known."""


Stretch = tuple[int, int, int]
"""Where lines begin and end that are not plainly ours, and how many of ours stand before them."""


class Survey(NamedTuple):
    """What the lines of a block tell.

    Attributes:
        lines: Those that are plainly ours, as they stand.
        runs: The numbers of all.
        others: Lines that may have a number in another spelling.
        stretches: Where lines stand that are not plainly ours, and one of ours at level error before them: they may
            be its traceback.
    """

    lines: Lines
    runs: Runs
    others: list[bytes]
    stretches: Sequence[Stretch]


class Ordered(NamedTuple):
    """All entries of a block.

    Attributes:
        lines: The entries in the order of time.
        behind_s: By how many seconds one stood behind a later one, at most.
        distinct: None is a copy of another.
    """

    lines: Lines
    behind_s: float
    distinct: bool


def is_compiled() -> bool:
    """Say whether the part in C is there."""
    return native is not None


def survey(data: bytes, size: int) -> Survey | None:
    """Return what a block tells; None where no line of it is plainly ours.

    Args:
        data: Valid UTF-8 up to ``size``.
        size: How many bytes are the block's.
    """
    if native is None:
        return _surveyed(data[:size])
    found = native.survey(data, size)
    if found is None:
        return None
    places, service, runs, others, stretches = found
    lines = Places(data, memoryview(places).cast("I"), service, [])
    return Survey(lines, runs, others, stretches)


def _surveyed(data: bytes) -> Survey | None:
    raws, rows = data.split(b"\n"), _LINE.findall(data)
    plain = [row[0] != b"" for row in rows]
    if raws[-1]:
        plain[-1] = False  # without a newline it may not be whole
    else:
        del raws[-1], plain[-1]
    if sum(plain) < find_count(data, OWN_START):  # some may be glued to each other
        plain = [
            is_plain and raw.find(OWN_START, 1) < 0
            for is_plain, raw in zip(plain, raws, strict=True)
        ]
    for number in [n for n, pair in enumerate(pairwise(plain)) if pair == (True, False)]:
        plain[number] = OWN_ERROR not in raws[number]
    if not any(plain):
        return None
    keys, services, servers, boots, texts = map(list, zip(*compress(rows, plain), strict=True))
    alike = len(set(services)) == 1 and _RAW[0] not in data
    lines = Listed(
        keys,
        list(compress(raws, plain)),
        services[0].decode() if alike else None,
        bytes(ABSENT if server else 0 for server in servers),
    )
    if all(plain):
        return Survey(lines, _runs(list(zip(boots, texts, strict=True))), [], [])
    found = numbers(data, len(data))
    return Survey(lines, found.runs, found.others, list(_stretches(raws, plain, len(data))))


def _stretches(raws: Sequence[bytes], plain: Sequence[bool], size: int) -> Iterator[Stretch]:
    at = before = 0
    for is_plain, group in groupby(zip(raws, plain, strict=True), itemgetter(1)):
        sizes = [len(raw) + 1 for raw, _ in group]
        end = at + sum(sizes)
        if is_plain:
            before += len(sizes)
        else:
            yield at, min(end, size), before
        at = end


def ordered(lines: Lines, others: list[Other]) -> Ordered:
    """Return the entries of a block in the order of time.

    Args:
        lines: Those that are plainly ours, as `survey` returns them.
        others: The others, as they stand.
    """
    if native is not None and isinstance(lines, Places):
        with suppress(ValueError):  # Python compares times that are none by their bytes
            places, behind_s, distinct = native.ordered(lines.data, lines.places, others)
            held = memoryview(places).cast("I")
            return Ordered(Places(lines.data, held, lines.service, others), behind_s, distinct)
    whole = with_others(lines, others)
    sorted_ = whole if in_order(whole.keys) else whole.sorted()
    return Ordered(sorted_, disorder_s(whole.keys), _are_distinct(sorted_))


class Numbers(NamedTuple):
    """The numbers of lines in any form.

    Attributes:
        runs: The numbers.
        others: Lines that may have one in another spelling.
        own: How many lines there are if all begin and end as our own do; else 0.
    """

    runs: Runs
    others: list[bytes]
    own: int


def numbers(data: bytes | bytearray, size: int) -> Numbers:
    """Return the numbers of lines in any form.

    Args:
        data: The lines.
        size: How many bytes are looked at: whole lines.
    """
    if native is not None:
        return Numbers(*native.numbers(data, size))
    found = _NUMBER.findall(data, 0, size)
    others = []
    if len(found) < find_count(data, b"boot", 0, size):
        lines = bytes(memoryview(data)[:size]).replace(b"\r\n", b"\n").split(b"\n")
        others = [line for line in lines if b"boot" in line and not _NUMBER.search(line)]
    begun = find_count(data, _OWN_SEAM, 0, size) + data.startswith(_OWN_SEAM[1:])
    ends = find_count(data, b"\n", 0, size) + (not data.endswith(b"\n", 0, size))
    return Numbers(_runs(found), others, begun if begun == len(found) == ends else 0)


def passed(fd: int, offset: int, end: int, parts: tuple[bytes, ...]) -> int:
    """Return the first place of a file at which one of some texts begins; the part in C alone looks.

    Args:
        fd: Its descriptor.
        offset: Where to begin.
        end: Where to end.
        parts: One or two texts of 1 to 256 bytes.

    Returns:
        The place; ``end`` if none begins before that, and ``offset`` without the part in C: Python would have to
        read what is skipped.
    """
    return offset if native is None else native.passed(fd, offset, end, parts)


def _runs(found: Sequence[tuple[bytes, bytes]]) -> Runs:
    """Return the numbers of pairs of a boot and a number, in text, as runs."""
    boots = {boot for boot, _ in found}
    if len(boots) == 1:  # most files are of one process
        return {boots.pop(): runs_of([int(number) for _, number in found])}
    several: dict[bytes, list[int]] = {boot: [] for boot in boots}
    for boot, number in found:
        several[boot].append(int(number))
    return {boot: runs_of(numbers) for boot, numbers in several.items()}


def runs_of(seen: Iterable[int]) -> list[Run]:
    """Return the numbers that were `seen` as runs in order."""
    distinct = set(seen)
    if not distinct:
        return []
    first, last = min(distinct), max(distinct)
    if last - first + 1 == len(distinct):
        return [(first, last)]
    return joined([(number, number) for number in distinct])


def joined(runs: Iterable[Run]) -> list[Run]:
    """Return `runs` in order, those that touch or overlap as one."""
    whole: list[Run] = []
    for first, last in sorted(runs):
        if whole and first <= whole[-1][1] + 1:
            whole[-1] = (whole[-1][0], max(whole[-1][1], last))
        else:
            whole.append((first, last))
    return whole


class Merged(NamedTuple):
    """Entries of several blocks in the order of time.

    Attributes:
        data: Those that are plainly ours, with their newlines.
        others: The others: before which byte of the data each stands, the number of its stream, and itself.
    """

    data: bytes
    others: Sequence[tuple[int, int, Other]]


def merged(several: Sequence[tuple[int, Lines]]) -> Merged | None:
    """Return ordered entries of blocks as one text; None where some may be copies of each other.

    Args:
        several: Of each block the number of its stream, and the entries.
    """
    held = [
        (number, lines.data, lines.places, lines.others)
        for number, lines in several
        if isinstance(lines, Places)
    ]
    if native is not None and len(held) == len(several):
        found = native.merged(held)
        if found is None:
            return None
        others = [(at, held[block][0], held[block][3][other]) for at, block, other in found[1]]
        return Merged(found[0], others)
    if any(OTHER in lines.kinds for _, lines in several):
        return None
    if len(several) == 1:
        return Merged(_joined(several[0][1].raws), [])
    whole = Listed([], [])
    for _, lines in several:
        whole.keys += lines.keys
        whole.raws += lines.raws
    whole = whole if in_order(whole.keys) else whole.sorted()
    return Merged(_joined(whole.raws), []) if _are_distinct(whole) else None


def _joined(raws: Iterable[bytes]) -> bytes:
    return b"\n".join([*raws, b""])


def _are_distinct(lines: Listed) -> bool:
    """Say whether no two lines of one moment have the same boot and seq."""
    keys, raws = lines.keys, lines.raws
    same = list(compress(count(1), map(eq, keys, keys[1:])))
    marks = {(keys[at], mark_of(raws[at])) for at in {*same, *(at - 1 for at in same)}}
    return len(marks) == len({*same, *(at - 1 for at in same)})


def mark_of(raw: bytes) -> bytes:
    """Return what makes the entry `raw` the same as another: its boot and seq, or all of it."""
    head = raw.partition(b"\n")[0]
    tail = tail_at(head)
    return raw if tail < 0 else head[tail:]


def peek(raw: bytes) -> Peek | None:
    """Return what the line `raw` tells; None where it is not surely a whole line in our own form.

    Quotes inside of texts stand behind a backslash, so that a key's name with its quotes is never part of a message;
    `meta`, which could hold the same names, stands behind what is looked for.
    """
    tail = tail_at(raw)
    if tail < 0 or not raw.startswith(OWN_START) or b"\n" in raw:
        return None
    service = raw.find(_SERVICE) + len(_SERVICE)
    session = raw.find(_SESSION, service) + len(_SESSION)
    end = raw.find(b'"', service)
    if service < len(_SERVICE) or session < len(_SESSION) or not is_text(raw):
        return None
    name = raw[service:end].decode()
    if raw.startswith(_SERVER, session):
        return name, "absent"
    return name, "inherited" if raw.endswith(_RAW, 0, tail) else "explicit"
