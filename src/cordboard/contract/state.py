"""The states of a session: legal transitions and reasons, as data.

``queued -> starting -> running -> ended``; from any of the first three also ``failed``,
``cancelled``, ``expired``. A session whose runner died goes back to ``queued`` with a higher
epoch. The store's scripts hold the same table; a test compares the two.
"""

from typing import Final, Literal

State = Literal["queued", "starting", "running", "ended", "failed", "cancelled", "expired"]

LIVE: Final[frozenset[State]] = frozenset({"queued", "starting", "running"})
TERMINAL: Final[frozenset[State]] = frozenset({"ended", "failed", "cancelled", "expired"})

TRANSITIONS: Final[dict[State, frozenset[State]]] = {
    "queued": frozenset({"starting", "failed", "cancelled", "expired"}),
    "starting": frozenset({"running", "queued", "ended", "failed", "cancelled", "expired"}),
    "running": frozenset({"queued", "ended", "failed", "cancelled", "expired"}),
    "ended": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
    "expired": frozenset(),
}
"""From each state, the states it may go to. ``queued`` again means: handed to another runner."""

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
"""Every reason of a terminal state, with the state that it leads to."""

RECOVERIES_MAX: Final = 2
"""How often a session is handed to another runner before it fails."""


def next_state(state: State, wanted: State) -> State:
    """Return ``wanted`` when it may follow ``state``, else ``state``: illegal moves change nothing."""
    return wanted if wanted in TRANSITIONS[state] else state
