"""The states of a session, their transitions, and the reasons of final states.

A session normally passes ``queued``, ``starting``, ``running`` and ``ended``. From each of the first
three it may also become ``failed``, ``cancelled`` or ``expired``. A session whose runner died becomes
``queued`` again, with a higher epoch. The store's Lua scripts have the same table; a test compares both.
"""

from typing import Final, Literal

State = Literal["queued", "starting", "running", "ended", "failed", "cancelled", "expired"]

LIVE: Final[frozenset[State]] = frozenset({"queued", "starting", "running"})
TERMINAL: Final[frozenset[State]] = frozenset({"ended", "failed", "cancelled", "expired"})

TRANSITIONS: Final[dict[State, frozenset[State]]] = {
    "queued": frozenset({"starting", "ended", "failed", "cancelled", "expired"}),
    "starting": frozenset({"running", "queued", "ended", "failed", "cancelled", "expired"}),
    "running": frozenset({"queued", "ended", "failed", "cancelled", "expired"}),
    "ended": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
    "expired": frozenset(),
}
"""The states that may follow each state. ``queued`` again is a recovery by another runner."""

REASONS: Final[dict[str, State]] = {
    "bot_finished": "ended",
    "left": "ended",
    "user_absent": "ended",
    "max_duration": "ended",
    "bot_crashed": "failed",
    "runner_lost": "failed",
    "lease_lost": "failed",
    "launch_failed": "failed",
    "deadline": "expired",
    "cancelled": "cancelled",
}
"""Every reason, with the final state that a session with this reason has."""

RECOVERIES_MAX: Final = 2
"""Recoveries of a session before it fails; with the first attempt, three attempts."""
