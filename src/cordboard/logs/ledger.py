"""Which numbers of each process were seen: a hole among them proves that lines are missing."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from stringzilla import count, find, rfind

_DOCKER: Final = re.compile(rb'\\"boot\\":\\"([0-9a-f]{8})\\",\\"seq\\":(\d{1,18})\}\\n"')
_END: Final = re.compile(rb'"boot":"([0-9a-f]{8})","seq":(\d{1,18})\}\r?$')
_NUMBER: Final = re.compile(rb"\d{1,18}")
_END_BYTES: Final = 64

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
    """Notes the numbers of all lines that pass by."""

    def __init__(self) -> None:
        self.runs: dict[bytes, list[Run]] = {}

    def note(self, data: bytes, *, own: bool) -> None:
        """Note all lines of a block.

        Args:
            data: Whole lines.
            own: Whether all are in our own form.
        """
        last = _END.search(data, max(0, len(data) - _END_BYTES))
        if own and last is not None and self._note_one(data, last[1], count(data, b"\n")):
            return
        for boot, numbers in _by_boot(data).items():
            self._add(boot, runs_of(numbers))

    def note_boots(self, data: bytes, boots: Collection[bytes]) -> None:
        """Note the lines of some processes in a block, at the speed of memory."""
        for boot in boots:
            if not self._note_one(data, boot, None):
                self._add(boot, runs_of(_numbers_of(data, boot)))

    def note_number(self, boot: str, number: int) -> None:
        """Note one line."""
        self._add(boot.encode(), [(number, number)])

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

    def _note_one(self, data: bytes, boot: bytes, lines: int | None) -> bool:
        """Note a process by counting alone, where the count proves that nothing is missing."""
        needle = b'"boot":"' + boot + b'","seq":'
        seen = count(data, needle)
        if seen == 0:
            return lines is None and b'\\"boot\\"' not in data
        if lines is not None and seen != lines:
            return False
        first = _number_at(data, find(data, needle) + len(needle))
        last = _number_at(data, rfind(data, needle) + len(needle))
        if last - first + 1 != seen:
            return False
        self._add(boot, [(first, last)])
        return True

    def _add(self, boot: bytes, found: Iterable[Run]) -> None:
        known = self.runs.setdefault(boot, [])
        for run in found:
            if known and known[-1][1] + 1 == run[0]:
                known[-1] = (known[-1][0], run[1])
            else:
                known.append(run)


def runs_of(numbers: Iterable[int]) -> list[Run]:
    """Return numbers as runs."""
    return joined([(number, number) for number in numbers])


def joined(found: Iterable[Run]) -> list[Run]:
    """Return runs in order, those that touch or overlap as one."""
    whole: list[Run] = []
    for first, last in sorted(found):
        if whole and first <= whole[-1][1] + 1:
            whole[-1] = (whole[-1][0], max(whole[-1][1], last))
        else:
            whole.append((first, last))
    return whole


def _number_at(data: bytes, at: int) -> int:
    found = _NUMBER.match(data, at)
    return int(found[0]) if found else 0


def _by_boot(data: bytes) -> Mapping[bytes, list[int]]:
    found: dict[bytes, list[int]] = {}
    for line in data.split(b"\n"):
        tail = _END.search(line, max(0, len(line) - _END_BYTES))
        if tail is None and line.startswith(b'{"log":"'):
            tail = _DOCKER.search(line)
        if tail is not None:
            found.setdefault(tail[1], []).append(int(tail[2]))
    return found


def _numbers_of(data: bytes, boot: bytes) -> Iterator[int]:
    for needle in (b'"boot":"' + boot + b'","seq":', b'\\"boot\\":\\"' + boot + b'\\",\\"seq\\":'):
        at = find(data, needle)
        while at >= 0:
            at += len(needle)
            yield _number_at(data, at)
            at = find(data, needle, at)
