"""Which numbers of each process were seen: a hole among them proves that lines are missing."""

from collections.abc import Collection
from itertools import pairwise
from typing import NamedTuple

from cordboard.logs.blocks import Block
from cordboard.logs.formats.wrappers import number_of
from cordboard.logs.survey import Run, Runs, joined


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


class SequenceIndex:
    """Notes the numbers of all lines that pass by.

    Args:
        ignored: Whether nothing is noted, as the stream holds the lines of one session alone: holes among
            their numbers are no losses.
    """

    def __init__(self, *, ignored: bool = False) -> None:
        self.runs: dict[bytes, list[Run]] = {}
        self._ignored = ignored

    def note(self, block: Block) -> None:
        """Note the numbers of all lines of `block`, in whatever form."""
        if not self._ignored:
            self.take(_numbers_of(block))

    def note_boots(self, block: Block, boots: Collection[bytes]) -> None:
        """Note the numbers of the lines of the processes `boots` in `block`, in whatever form."""
        if self._ignored or not any(block.find(boot) >= 0 for boot in boots):
            return
        found = _numbers_of(block)
        self.take({boot: found[boot] for boot in boots if boot in found})

    def take(self, runs: Runs) -> None:
        """Add the numbers `runs`, which were seen elsewhere."""
        if self._ignored:
            return
        for boot, found in runs.items():
            known = self.runs.setdefault(boot, [])
            for run in found if len(found) == 1 else joined(found):
                if known and known[-1][1] + 1 == run[0]:
                    known[-1] = (known[-1][0], run[1])
                else:
                    known.append(run)

    def first(self, boot: str) -> int | None:
        """Return the lowest number that was seen of the process `boot`; None where none was."""
        found = self.runs.get(boot.encode())
        return min(found)[0] if found else None

    def gaps(self) -> list[Gap]:
        """Return all holes."""
        return [
            Gap(boot.decode(), before[1] + 1, after[0] - 1)
            for boot, found in sorted(self.runs.items())
            for before, after in pairwise(joined(found))
        ]


def _numbers_of(block: Block) -> Runs:
    """Return the numbers of a block's lines; each is read once."""
    told = block.surveyed or block.numbers
    if not told.others:
        return told.runs
    found = {boot: list(several) for boot, several in told.runs.items()}
    for numbered in filter(None, map(number_of, told.others)):
        found.setdefault(numbered[0], []).append((numbered[1], numbered[1]))
    return found
