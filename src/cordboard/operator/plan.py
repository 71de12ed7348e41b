"""What is to be done about a session whose lease has run out: a pure function.

Nothing is reaped on one sign alone: the lease has expired by Redis's clock, and the holder's death
is confirmed, or the holder has been silent for so long that it must have stopped by itself.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from cordboard.contract.lease import LEASE_S, SILENCE_S

GIVE_UP_OVERDUE_MS: Final = round((SILENCE_S - LEASE_S) * 1000)
"""A lease is overdue from LEASE_S after the last renewal on; SILENCE_S counts from the renewal."""


class Sign(Enum):
    """What could be learnt of the holder."""

    HOLDS = "it answers that it holds the session"
    DOES_NOT_HOLD = "it answers that it does not hold the session"
    REFUSED = "nothing listens on its port"
    ENDED = "its process or job has ended"
    SILENT = "it does not answer"


class Action(Enum):
    """What to do."""

    WAIT = "wait"
    RECOVER = "recover"


@dataclass(frozen=True, slots=True)
class Finding:
    """A suspect session: how long its lease is overdue, and what its holder says."""

    overdue_ms: int
    sign: Sign


_CONFIRMED: Final = frozenset({Sign.DOES_NOT_HOLD, Sign.REFUSED, Sign.ENDED})


def decide(finding: Finding) -> Action:
    """Say what is to be done about a suspect."""
    if finding.sign in _CONFIRMED:
        return Action.RECOVER
    # A holder that answers but cannot renew stops by itself after the outage tolerance; one that
    # is silent for as long must have.
    return Action.RECOVER if finding.overdue_ms >= GIVE_UP_OVERDUE_MS else Action.WAIT
