"""Joins that this operator cannot start a runner for, but another one can.

Each operator reads joins from one queue, and keeps what it has read. One that has no launcher, or whose
runners do not have the bot, can only use a warm runner; so it passes the join on to an operator
that can start a cold one. An operator's name in the consumer group says what it can start.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from cordboard.contract.operator_name import can_start_cold, cold_suffix
from cordboard.launchers import Launcher, has_bot
from cordboard.store import QueueEntry

WAIT_S: Final = 1.0  # a warm runner may be free in a moment
KEEP_OFF_S: Final = 5.0  # the others look every second


def cold_ending_of(launcher: Launcher | None) -> str:
    """Return the end of an operator's name: what its launcher can start."""
    return "" if launcher is None else cold_suffix(launcher.most, launcher.bots)


@dataclass(slots=True)
class PassOn:
    """Remembers since when this operator has what it cannot start, and what it passed on.

    Attributes:
        launcher: What this operator can start.
    """

    launcher: Launcher | None
    _since: dict[str, float] = field(default_factory=dict)
    _passed: dict[str, float] = field(default_factory=dict)

    def stuck(self, waiting: Iterable[QueueEntry]) -> list[QueueEntry]:
        """Return what has waited here for a while and cannot be started cold by this operator."""
        now = time.monotonic()
        ours = [
            entry
            for entry in waiting
            if entry.launch is not None and not has_bot(self.launcher, entry.launch.bot)
        ]
        self._since = {one.entry_id: self._since.get(one.entry_id, now) for one in ours}
        return [entry for entry in ours if now - self._since[entry.entry_id] >= WAIT_S]

    def for_others(self, stuck: Iterable[QueueEntry], operators: Iterable[str]) -> list[QueueEntry]:
        """Return what one of these operators can start, and note that it is passed on."""
        names = list(operators)
        passed = [
            entry
            for entry in stuck
            if entry.launch is not None
            and any(can_start_cold(name, entry.launch.bot) for name in names)
        ]
        now = time.monotonic()
        self._passed = {
            entry: at for entry, at in self._passed.items() if now - at < KEEP_OFF_S
        } | {entry.entry_id: now for entry in passed}
        return passed

    def was_passed_on(self, entry: QueueEntry) -> bool:
        """Return whether an entry that comes back was passed on to others a moment ago."""
        at = self._passed.get(entry.entry_id)
        return at is not None and time.monotonic() - at < KEEP_OFF_S
