"""Warnings and errors in context: each with the lines around it, whoever spoke them."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from cordboard.logs.report.entry import Entry

BEFORE: Final = 4
AFTER: Final = 3
BLOCKS_MAX: Final = 40
"""Blocks with an error; of those with warnings only, a third of it."""
BLOCK_LINES_MAX: Final = 60


@dataclass(slots=True)
class Block:
    """Neighbouring lines, at least one of them a warning or an error."""

    entries: list[Entry] = field(default_factory=list)

    @property
    def worst(self) -> str:
        """``error`` or ``warn``."""
        return "error" if any(item.level == "error" for item in self.entries) else "warn"


@dataclass(frozen=True, slots=True)
class Troubles:
    """All blocks that were kept, and how many lines there were.

    Attributes:
        left_out: Warnings and errors that are in no block, because there are too many.
    """

    blocks: tuple[Block, ...] = ()
    errors: int = 0
    warnings: int = 0
    left_out: int = 0


class TroubleFinder:
    """Takes lines one by one; keeps those near a warning or an error."""

    def __init__(self) -> None:
        self._before: deque[Entry] = deque(maxlen=BEFORE)
        self._blocks: list[Block] = []
        self._open: Block | None = None
        self._after = 0
        self._errors = self._warnings = self._left_out = 0
        self._full: dict[str, int] = {"error": BLOCKS_MAX, "warn": BLOCKS_MAX // 3}

    def add(self, item: Entry) -> None:
        """Take one line."""
        self._errors += item.level == "error"
        self._warnings += item.level == "warn"
        if item.bad:
            self._take(item)
        elif self._open is not None and self._after:
            self._open.entries.append(item)
            self._after -= 1
        else:
            self._open = None
            self._before.append(item)

    def troubles(self) -> Troubles:
        """Return what was found."""
        return Troubles(tuple(self._blocks), self._errors, self._warnings, self._left_out)

    def _take(self, item: Entry) -> None:
        block = self._open
        if block is not None and len(block.entries) < BLOCK_LINES_MAX:
            block.entries.append(item)
            self._after = AFTER
            return
        self._open = None
        if not self._full[item.level]:
            self._left_out += 1
            return
        self._full[item.level] -= 1
        self._open = Block([*self._before, item])
        self._before.clear()
        self._blocks.append(self._open)
        self._after = AFTER
