"""Which numbers of each process were seen: a hole among them proves that lines are missing."""

import re
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import pairwise
from operator import lt
from typing import Final, NamedTuple

from cordboard.logs.formats.wrappers import number_of
from cordboard.logs.tape import Block
from cordboard.logs.timestamps import tail_at

_EDGE_LINES: Final = 16

Run = tuple[int, int]
"""Numbers from the first to the last one, all seen."""


class Gap(NamedTuple):
    """Numbers that were not seen, though lower and higher ones were.

    Attributes:
        boot: The process.
        first: The first of them.
        last: The last of them.
    """

    boot: str
    first: int
    last: int

    def __str__(self) -> str:
        numbers = str(self.first) if self.first == self.last else f"{self.first} to {self.last}"
        return f"boot {self.boot}: seq {numbers}"


class Ledger:
    """Notes the numbers of all lines that pass by.

    Args:
        quick: The lines of a process in a block that is only searched are counted, and the first
            and the last number read, instead of each, at an eighth of the cost; a loss could then
            hide behind a line that stands in the block twice. For much data.

    Attributes:
        ignored: Whether nothing is noted, as the stream holds the lines of one session alone: holes among
            their numbers are no losses.
    """

    def __init__(self, *, quick: bool = False) -> None:
        self.quick = quick
        self.ignored = False
        self.runs: dict[bytes, list[Run]] = {}

    def note(self, block: Block) -> None:
        """Note all lines of a block, in whatever form."""
        if self.ignored:
            return
        if block.arranged is not None and block.arranged.runs is not None:
            for each, runs in block.arranged.runs.items():
                self._add(each, runs if len(runs) == 1 else joined(runs))
            return
        last = block.part(block.buffer.rfind(b"\n", 0, block.size - 1) + 1, block.size)
        at = tail_at(last.rstrip(b"\r\n"))
        boot = last[at + 9 : at + 17]
        if at >= 0 and block.count(_start_of(boot)) == block.count_of_lines:
            quick = self.quick and block.arranged is None
            run = _counted(block, boot) if quick or _is_each_once(block) else None
            run = run or _proved(block.lines, boot)
            if run is not None:
                self._add(boot, [run])
                return
        for each, numbers in _by_line(block.lines).items():
            self._add(each, runs_of(numbers))

    def note_boots(self, block: Block, boots: Collection[bytes]) -> None:
        """Note the lines of some processes in a block, in whatever form."""
        if self.ignored:
            return
        for boot in boots:
            if self.quick and (run := _counted(block, boot)) is not None:
                self._add(boot, [run])
                continue
            self._add(boot, runs_of(_numbers(block, _start_of(boot))))
            self._add(boot, runs_of(_wrapped_numbers(block, boot)))

    def take(self, runs: Mapping[bytes, Iterable[Run]]) -> None:
        """Add the runs of another one."""
        if self.ignored:
            return
        for boot, found in runs.items():
            self._add(boot, found)

    def first(self, boot: str) -> int | None:
        """Return the lowest number that was seen of a process."""
        found = self.runs.get(boot.encode())
        return min(found)[0] if found else None

    def gaps(self) -> list[Gap]:
        """Return all holes."""
        return [
            Gap(boot.decode(), before[1] + 1, after[0] - 1)
            for boot, found in sorted(self.runs.items())
            for before, after in pairwise(joined(found))
        ]

    def _add(self, boot: bytes, found: Iterable[Run]) -> None:
        known = self.runs.setdefault(boot, [])
        for run in found:
            if known and known[-1][1] + 1 == run[0]:
                known[-1] = (known[-1][0], run[1])
            else:
                known.append(run)


def runs_of(numbers: Iterable[int]) -> list[Run]:
    """Return numbers as runs."""
    distinct = set(numbers)
    if not distinct:
        return []
    first, last = min(distinct), max(distinct)
    if last - first + 1 == len(distinct):
        return [(first, last)]
    return joined([(number, number) for number in distinct])


def joined(found: Iterable[Run]) -> list[Run]:
    """Return runs in order, those that touch or overlap as one."""
    whole: list[Run] = []
    for first, last in sorted(found):
        if whole and first <= whole[-1][1] + 1:
            whole[-1] = (whole[-1][0], max(whole[-1][1], last))
        else:
            whole.append((first, last))
    return whole


def _start_of(boot: bytes) -> bytes:
    return b'"boot":"' + boot + b'","seq":'


def _is_each_once(block: Block) -> bool:
    """Say whether no line is a copy of another one; asked only where the times are known anyway."""
    return block.arranged is not None and block.arranged.distinct


def _counted(block: Block, boot: bytes) -> Run | None:
    """Return the run of a process's lines where their count proves that they are one."""
    start = _start_of(boot)
    seen = block.count(start)
    if seen <= 2 * _EDGE_LINES:
        return None
    first = min(_number_at(block.buffer, at) for at in _edge(block, start))
    last = max(_number_at(block.buffer, at) for at in _edge_back(block, start))
    return (first, last) if last - first + 1 == seen else None


def _proved(lines: list[bytes], boot: bytes) -> Run | None:
    """Return the run of lines of ours where they are one process's, each once, without a hole.

    Where numbers become a digit longer, the lines before and behind are looked at apart.
    """
    start = b"," + _start_of(boot)
    runs = [_proved_part(part, start) for part in _of_one_length(lines, start)]
    whole = joined([run for run in runs if run is not None])
    return whole[0] if len(whole) == 1 and None not in runs else None


def _of_one_length(lines: list[bytes], start: bytes) -> Iterator[list[bytes]]:
    def size(line: bytes) -> int:
        return len(line) - line.rfind(start)

    begin, most = 0, size(lines[-1])
    while (least := size(lines[begin])) < most:
        end = bisect_left(lines, least + 1, begin, key=size)
        yield lines[begin:end]
        begin = end
    yield lines[begin:] if begin else lines


def _proved_part(lines: list[bytes], start: bytes) -> Run | None:
    """Return the run of lines whose ends have one length, so that they sort as their numbers do.

    If the least and the greatest begin alike, all do.
    """
    size = len(lines[-1]) - lines[-1].rfind(start)
    ends = [line[-size:] for line in lines]
    if all(map(lt, ends, ends[1:])):
        least, most = ends[0], ends[-1]
    else:
        least, most = min(ends), max(ends)
        if len(set(ends)) < len(ends):
            return None
    if not (least.startswith(start) and most.startswith(start)):
        return None
    first, last = least[len(start) : -1], most[len(start) : -1]
    if not (first.isdigit() and last.isdigit()) or int(last) - int(first) + 1 != len(lines):
        return None
    return int(first), int(last)


def _edge(block: Block, start: bytes) -> Iterator[int]:
    at = 0
    for _ in range(_EDGE_LINES):
        at = block.find(start, at) + len(start)
        yield at


def _edge_back(block: Block, start: bytes) -> Iterator[int]:
    end = block.size
    for _ in range(_EDGE_LINES):
        end = block.rfind(start, end)
        yield end + len(start)


def _numbers(block: Block, start: bytes) -> Iterable[int]:
    if block.find(start) < 0:
        return ()
    found = re.compile(re.escape(start) + rb"(\d{1,18})\}").findall(block.buffer, 0, block.size)
    return map(int, found)


def _wrapped_numbers(block: Block, boot: bytes) -> Iterator[int]:
    """Yield the numbers of a process's lines whose carriers have changed how the end is spelt."""
    start = _start_of(boot)
    if block.count(boot) == block.count(start):
        return
    at = block.find(boot)
    while at >= 0:
        begin = block.buffer.rfind(b"\n", 0, at) + 1
        end = block.find(b"\n", at)
        line = block.part(begin, block.size if end < 0 else end)
        numbered = None if start in line else number_of(line.rstrip(b"\r"))
        if numbered is not None and numbered[0] == boot:
            yield numbered[1]
        at = -1 if end < 0 else block.find(boot, end)


def _number_at(data: bytes | bytearray, at: int) -> int:
    number = data[at : data.find(b"}", at)]
    return int(number) if number.isdigit() else 0


def _by_line(lines: list[bytes]) -> dict[bytes, list[int]]:
    found: dict[bytes, list[int]] = {}
    for whole in lines:
        line = whole.rstrip(b"\r")
        at = tail_at(line)
        if at >= 0:
            found.setdefault(line[at + 9 : at + 17], []).append(int(line[at + 25 : -1]))
        elif b"boot" in line and (numbered := number_of(line)) is not None:
            found.setdefault(numbered[0], []).append(numbered[1])
    return found
