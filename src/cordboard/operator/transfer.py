"""Joins that this operator cannot start a runner for, but another operator can.

All operators read joins from one queue, and keep what they have read. An operator without a launcher, or whose
cold runners do not have the bot, can only use a warm runner. So it transfers such a join to an operator that
can start a cold one. An operator's name in the consumer group tells which bots it can start.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from cordboard.contract.operator_name import can_start_cold, cold_suffix
from cordboard.launchers import Launcher, has_bot
from cordboard.store import QueueEntry

# A join waits this long here first: a warm runner may become free in a moment.
WAIT_S: Final = 1.0

# A transferred join is not taken back for this long: the other operators look every second.
KEEP_OFF_S: Final = 5.0


def launcher_suffix(launcher: Launcher | None) -> str:
    """Return the end of an operator's name, which lists the bots that ``launcher`` can start."""
    return "" if launcher is None else cold_suffix(launcher.max_runners, launcher.bots)


@dataclass(slots=True)
class Transfers:
    """Decides which joins to transfer, and remembers those it has transferred.

    Attributes:
        launcher: The launcher of this operator.
        wait_s: Seconds for which a join waits here before it is transferred.
        keep_off_s: Seconds for which a transferred join is not taken back.
    """

    launcher: Launcher | None
    wait_s: float = WAIT_S
    keep_off_s: float = KEEP_OFF_S
    _waiting_since: dict[str, float] = field(default_factory=dict)
    _transferred_at: dict[str, float] = field(default_factory=dict)

    def stuck(self, waiting: Iterable[QueueEntry]) -> list[QueueEntry]:
        """Return the entries that this operator cannot start cold and that have waited long enough.

        Args:
            waiting: All entries that wait here.
        """
        # Entries that are no longer waiting drop out here, so the dictionary cannot grow.
        now = time.monotonic()
        unstartable = [
            entry
            for entry in waiting
            if entry.launch is not None and not has_bot(self.launcher, entry.launch.bot)
        ]
        self._waiting_since = {
            entry.entry_id: self._waiting_since.get(entry.entry_id, now) for entry in unstartable
        }
        return [
            entry
            for entry in unstartable
            if now - self._waiting_since[entry.entry_id] >= self.wait_s
        ]

    def transferable(
        self, stuck: Iterable[QueueEntry], operators: Iterable[str]
    ) -> list[QueueEntry]:
        """Return the entries that another operator can start, and remember them as transferred.

        Args:
            stuck: The entries that this operator cannot start.
            operators: The names of the other operators.
        """
        names = list(operators)
        entries = [
            entry
            for entry in stuck
            if entry.launch is not None
            and any(can_start_cold(name, entry.launch.bot) for name in names)
        ]
        now = time.monotonic()
        self._transferred_at = {
            entry_id: at
            for entry_id, at in self._transferred_at.items()
            if now - at < self.keep_off_s
        } | {entry.entry_id: now for entry in entries}
        return entries

    def is_recent(self, entry: QueueEntry) -> bool:
        """Return whether ``entry`` was transferred a moment ago, so that others should take it first."""
        at = self._transferred_at.get(entry.entry_id)
        return at is not None and time.monotonic() - at < self.keep_off_s
