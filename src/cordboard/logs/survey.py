"""The inner loop: what a block of lines tells by one look at it. In C where that was compiled, else in Python.

`survey` is for blocks all of whose lines are plainly in our own form: their times, order, numbers and
speakers, without a line being decoded. `numbers` is for lines in any form. `peek` is for one line.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import compress, count
from operator import eq
from typing import Final, NamedTuple

from stringzilla import count as find_count

from cordboard.contract.record import SERVER_PREFIX
from cordboard.logs.entries import Lines, Listed, Places, disorder_s, in_order
from cordboard.logs.formats.decode import is_text
from cordboard.logs.line import Attribution
from cordboard.logs.patterns import pattern
from cordboard.logs.timestamps import OWN_LINE, OWN_START, tail_at

try:
    from cordboard.logs import _native as native
except ImportError:  # `hatch_build.py` found no compiler
    native = None  # type: ignore[assignment]

Run = tuple[int, int]
"""Numbers from the first to the last one, all seen."""

Runs = Mapping[bytes, Sequence[Run]]
"""For each process the runs of its lines' numbers, as they stand."""

_RAW: Final = (b',"raw":true', b',"raw":true,"truncated":true')
_SERVICE: Final = b'"service":"'
_SESSION: Final = b'"sessionId":"'
_SERVER: Final = SERVER_PREFIX.encode()
_OWN_LINE: Final = pattern(
    rb'^\{"timestamp":"(2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)".*?"service":"([^"\n]*)'
    rb'".*?"sessionId":"(server:)?.*,"boot":"([0-9a-f]{8})","seq":(\d{1,18})\}$',
    re.MULTILINE,
)
_NUMBER: Final = pattern(rb',"boot":"([0-9a-f]{8})","seq":(\d{1,18})\}\r?$', re.MULTILINE)

_OWN_SEAM: Final = OWN_LINE + b"2"

Peek = tuple[str, Attribution]
"""The service, and how the line's session is known."""


class Survey(NamedTuple):
    """What the lines of a block tell.

    Attributes:
        lines: The lines in the order of time.
        runs: Their numbers.
        last: When the last one was said, as they stood.
        behind_s: By how many seconds one stood behind a later one, at most.
        distinct: None is a copy of another.
    """

    lines: Lines
    runs: Runs
    last: bytes
    behind_s: float
    distinct: bool


def is_compiled() -> bool:
    """Say whether the part in C is there."""
    return native is not None


def survey(data: bytes, size: int) -> Survey | None:
    """Return what a block tells; None where not all of its lines are plainly ours.

    Args:
        data: Valid UTF-8 up to ``size``.
        size: How many bytes are the block's: whole lines.
    """
    if native is not None:
        found = native.survey(data, size)
        if found is None:
            return None
        places, service, runs, last, behind_s, distinct = found
        lines = Places(data, memoryview(places).cast("I"), service)
        return Survey(lines, runs, last, behind_s, distinct)
    return _surveyed(data[:size] if size < len(data) else data)


def _surveyed(data: bytes) -> Survey | None:
    found = _OWN_LINE.findall(data)
    if not found or len(found) != data.count(b"\n") or not data.endswith(b"\n"):
        return None
    keys, services, servers, boots, texts = map(list, zip(*found, strict=True))
    raws = data.split(b"\n")[:-1]
    alike = len(set(services)) == 1 and _RAW[0] not in data
    lines = Listed(
        keys,
        raws,
        services[0].decode() if alike else None,
        [server == _SERVER for server in servers],
    )
    ordered = in_order(keys)
    marks = set(zip(keys, boots, texts, strict=True))
    return Survey(
        lines if ordered else lines.sorted(),
        _runs(list(zip(boots, texts, strict=True))),
        keys[-1],
        0.0 if ordered else disorder_s(keys),
        len(marks) == len(keys),
    )


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


def merged(several: list[Lines]) -> bytes | None:
    """Return the surveyed lines of `several` blocks in the order of time, joined; None where some are copies."""
    held = [(each.data, each.places) for each in several if isinstance(each, Places)]
    if native is not None and len(held) == len(several):
        return native.merged(held)
    if len(several) == 1:
        return _joined(several[0].raws)
    whole = Listed([], [])
    for lines in several:
        whole.keys += lines.keys
        whole.raws += lines.raws
    whole = whole if in_order(whole.keys) else whole.sorted()
    return _joined(whole.raws) if _are_distinct(whole) else None


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
