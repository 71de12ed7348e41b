"""Which numbers of each process were seen: a hole among them proves that lines are missing."""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from stringzilla import count, find, rfind

from cordboard.logs.carriers import DOCKER_START
from cordboard.logs.stamps import tail_at

_DOCKER: Final = re.compile(rb'\\"boot\\":\\"([0-9a-f]{8})\\",\\"seq\\":(\d{1,18})\}\\n"')
_NUMBER: Final = re.compile(rb"\d{1,18}")
_EDGE_LINES: Final = 64

Run = tuple[int, int]
"""Numbers from the first to the last one, all seen."""


@dataclass(frozen=True, slots=True)
class Gap:
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
        quick: A block of one process, all in our own form, is noted by counting its lines instead
            of reading each number; a loss could then hide behind a line that stands in the block
            twice. For much data.
    """

    def __init__(self, *, quick: bool = False) -> None:
        self.quick = quick
        self.runs: dict[bytes, list[Run]] = {}

    def note(self, data: bytes, own: bool) -> None:
        """Note all lines of a block.

        Args:
            data: Whole lines.
            own: Whether all are in our own form.
        """
        last = data[data.rfind(b"\n", 0, -1) + 1 :].rstrip(b"\n")
        at = tail_at(last) if own else -1
        if at < 0:
            for boot, numbers in _by_line(data).items():
                self._add(boot, runs_of(numbers))
            return
        boot = last[at + 9 : at + 17]
        if count(data, _start_of(boot)) == count(data, b"\n"):
            self._note_one(data, boot)
        else:
            for each, numbers in _by_end(data).items():
                self._add(each, runs_of(numbers))

    def note_boots(self, data: bytes, boots: Collection[bytes]) -> None:
        """Note the lines of some processes in a block, in whatever form."""
        for boot in boots:
            self._note_one(data, boot)
            if data.startswith(DOCKER_START):
                escaped = _start_of(boot).replace(b'"', b'\\"')
                self._add(boot, runs_of(_numbers(data, escaped)))

    def take(self, other: "Ledger") -> None:
        """Add what another one has noted."""
        for boot, found in other.runs.items():
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

    def _note_one(self, data: bytes, boot: bytes) -> None:
        start = _start_of(boot)
        run = _counted(data, start) if self.quick else None
        self._add(boot, [run] if run else runs_of(_numbers(data, start)))

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


def _counted(data: bytes, start: bytes) -> Run | None:
    """Return the run of a process's lines where their count proves that they are one."""
    seen = count(data, start)
    if seen <= 2 * _EDGE_LINES:
        return None
    first = min(_number_at(data, at) for at in _edge(data, start))
    last = max(_number_at(data, at) for at in _edge_back(data, start))
    return (first, last) if last - first + 1 == seen else None


def _edge(data: bytes, start: bytes) -> Iterator[int]:
    at = 0
    for _ in range(_EDGE_LINES):
        at = find(data, start, at) + len(start)
        yield at


def _edge_back(data: bytes, start: bytes) -> Iterator[int]:
    end = len(data)
    for _ in range(_EDGE_LINES):
        end = rfind(data, start, 0, end)
        yield end + len(start)


def _numbers(data: bytes, start: bytes) -> list[int]:
    parts = data.split(start)[1:]
    try:
        return [int(part[: part.find(b"}")]) for part in parts]
    except ValueError:  # no line of ours, though it looks like one
        found = [_NUMBER.match(part) for part in parts]
        return [int(match[0]) for match in found if match]


def _number_at(data: bytes, at: int) -> int:
    found = _NUMBER.match(data, at)
    return int(found[0]) if found else 0


def _by_end(data: bytes) -> dict[bytes, list[int]]:
    """Return the numbers of lines that are all in our own form."""
    found: dict[bytes, list[int]] = {}
    start = b'"boot":"'
    for line in data.split(b"\n"):
        tail = line[line.rfind(start) + len(start) :]
        if tail[16:-1].isdigit():
            found.setdefault(tail[:8], []).append(int(tail[16:-1]))
    return found


def _by_line(data: bytes) -> dict[bytes, list[int]]:
    found: dict[bytes, list[int]] = {}
    for whole in data.split(b"\n"):
        line = whole.rstrip(b"\r")
        at = tail_at(line)
        if at >= 0:
            found.setdefault(line[at + 9 : at + 17], []).append(int(line[at + 25 : -1]))
        elif line.startswith(DOCKER_START) and (tail := _DOCKER.search(line)) is not None:
            found.setdefault(tail[1], []).append(int(tail[2]))
    return found
