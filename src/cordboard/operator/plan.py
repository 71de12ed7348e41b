"""What is to be done about a session whose lease has run out: pure functions.

Nothing is reaped on one sign alone: the lease has expired by Redis's clock, and the holder's death
is confirmed, or the holder has been silent for so long that it must have stopped by itself. And
where many look dead at once, Redis or the network is suspected first.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

from cordboard.contract.lease import LEASE_S, RENEWAL_S, SILENCE_S, Periods

GIVE_UP_OVERDUE_MS: Final = round((SILENCE_S - LEASE_S) * 1000)
"""A lease is overdue from LEASE_S after the last renewal on; SILENCE_S counts from the renewal."""

PATIENCE_S: Final = 2 * RENEWAL_S
"""For so long, by its own clock, an operator has seen a suspect before it counts silence against
it: a failover may have moved Redis's clock ahead, and a live holder renews meanwhile."""

CROWD_MIN: Final = 3
CROWD_WAIT_S: Final = 0.4 * RENEWAL_S


class Sign(Enum):
    """What could be learnt of the holder."""

    HOLDS = "it answers that it holds the session"
    OVER = "it answers that the session has ended there"
    DOES_NOT_HOLD = "it answers that it does not hold the session"
    REFUSED = "nothing listens on its port"
    ENDED = "its process or job has ended"
    SILENT = "it does not answer"


class Action(Enum):
    """What to do."""

    WAIT = "wait"
    RECOVER = "its runner is lost: hand it to another"
    START_ANEW = "its hand-over was lost: hand it over again"
    WRITE_END = "its end was not written and is written now"


@dataclass(frozen=True, slots=True)
class Finding:
    """A suspect session.

    Attributes:
        overdue_ms: For how long its lease has run out, by Redis's clock.
        sign: What its holder says.
        seen_s: For how long this operator has seen it overdue, by its own clock.
        state: Whether its bot has run.
    """

    overdue_ms: int
    sign: Sign
    seen_s: float = PATIENCE_S
    state: Literal["starting", "running"] = "running"


_CONFIRMED: Final = frozenset({Sign.DOES_NOT_HOLD, Sign.REFUSED, Sign.ENDED})


def decide(finding: Finding, periods: Periods = Periods()) -> Action:  # noqa: B008 - immutable
    """Say what is to be done about a suspect."""
    scale = periods.lease_s / LEASE_S
    if finding.sign is Sign.OVER:
        return Action.WRITE_END
    if finding.state == "starting" and finding.sign is Sign.DOES_NOT_HOLD:
        return Action.START_ANEW
    if finding.sign in _CONFIRMED:
        return Action.RECOVER
    # A holder that answers but cannot renew stops by itself after the outage tolerance; one that
    # is silent for as long must have.
    patient = finding.seen_s >= PATIENCE_S * scale
    overdue = finding.overdue_ms >= GIVE_UP_OVERDUE_MS * scale
    return Action.RECOVER if patient and overdue else Action.WAIT


def is_crowd(suspects: int, leased: int, percent: int) -> bool:
    """Say whether so many look dead at once that Redis or the network is suspected first."""
    return suspects >= CROWD_MIN and suspects * 100 > leased * percent
