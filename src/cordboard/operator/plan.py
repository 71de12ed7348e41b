"""The decision about a session whose holder may be dead: pure functions.

A session is recovered only on two independent facts. Either a connection to its runner was closed, or someone
saw the bot's peer break, and the holder's death is confirmed. Or its lease has expired by Redis's clock, and
the death is confirmed, or the holder has been silent for so long that it must have stopped by itself.
When many sessions look dead at once, Redis or the network is the likelier cause.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

from cordboard.contract.lease import LEASE_S, RENEWAL_S, SILENCE_S, Periods

# Milliseconds overdue at which a silent holder is given up. A lease is overdue from LEASE_S after the last
# renewal, but SILENCE_S counts from that renewal.
GIVE_UP_OVERDUE_MS: Final = round((SILENCE_S - LEASE_S) * 1000)

# Seconds after a runner's death after which its bots must be gone: the kernel kills them with it. The last of 8 bots
# was gone 0.11 s after the runner's death at worst, on two busy cores (benchmarks/survival/bench_deaths.py --bots 8).
BOTS_END_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Thresholds:
    """How much evidence a recovery needs. Times are for a lease of 15 s and scale with it.

    Attributes:
        patience_s: Seconds for which this operator must have seen a suspect, by its own clock, before silence
            counts. A failover may move Redis's clock forward; a live holder renews within this time.
        crowd_min: The fewest suspects that are a crowd.
        crowd_percent: The percentage of all leased sessions above which the suspects are a crowd.
        crowd_wait_s: Seconds for which a crowd is left alone: long enough for a holder that Redis lost
            for a moment to renew, short enough for recovery to start within 20 s of a death.
    """

    patience_s: float = 2 * RENEWAL_S
    crowd_min: int = 3
    crowd_percent: int = 50
    crowd_wait_s: float = 0.4 * RENEWAL_S


class Sign(Enum):
    """What is known about a suspect's holder. The values appear in log lines."""

    HOLDS = "the runner holds the session"
    OVER = "the runner reports that the session has ended"
    DOES_NOT_HOLD = "the runner does not hold the session"
    REFUSED = "the runner's port is closed"
    ENDED = "the runner's process or Job has ended"
    SILENT = "the runner does not answer"


class Action(Enum):
    """What the operator does about a suspect.

    ``WAIT``: nothing yet. ``RECOVER``: its runner is lost, so another one gets the session. ``START_AGAIN``:
    its hand-over was lost, so it is handed over again. ``WRITE_END``: its runner could not write its end.
    """

    WAIT = "wait"
    RECOVER = "recover"
    START_AGAIN = "start again"
    WRITE_END = "write the end"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is known about a suspect.

    Attributes:
        overdue_ms: Milliseconds since its lease ran out, by Redis's clock.
        sign: What is known about its holder.
        seen_s: Seconds for which this operator has seen it overdue, by its own clock.
        state: ``running`` if its bot process has run, else ``starting``.
    """

    overdue_ms: int
    sign: Sign
    seen_s: float
    state: Literal["starting", "running"] = "running"


CONFIRMED_DEATHS: Final = frozenset({Sign.DOES_NOT_HOLD, Sign.REFUSED, Sign.ENDED})
_DEFAULT_PERIODS: Final = Periods()
DEFAULT_THRESHOLDS: Final = Thresholds()


def decide(
    finding: Finding,
    periods: Periods = _DEFAULT_PERIODS,
    thresholds: Thresholds = DEFAULT_THRESHOLDS,
) -> Action:
    """Return what to do about a suspect.

    Args:
        finding: What is known about it.
        periods: The periods of the plane's leases.
        thresholds: How much evidence is needed.
    """
    scale = periods.lease_s / LEASE_S
    if finding.sign is Sign.OVER:
        return Action.WRITE_END
    if finding.state == "starting" and finding.sign is Sign.DOES_NOT_HOLD:
        return Action.START_AGAIN
    if finding.sign in CONFIRMED_DEATHS:
        return Action.RECOVER
    # A holder that answers but cannot renew stops its bot after the outage tolerance, which is shorter
    # than the silence. A holder that does not answer has stopped by then, too.
    is_seen_long_enough = finding.seen_s >= thresholds.patience_s * scale
    is_overdue = finding.overdue_ms >= GIVE_UP_OVERDUE_MS * scale
    return Action.RECOVER if is_seen_long_enough and is_overdue else Action.WAIT


def decide_early(sign: Sign, state: Literal["starting", "running"]) -> Action:
    """Return what to do about a session before its lease runs out.

    Only a confirmed death counts here; silence never does.

    Args:
        sign: What is known about its holder.
        state: ``running`` if its bot process has run, else ``starting``.
    """
    if sign is Sign.OVER:
        return Action.WRITE_END
    # A runner that does not hold a starting session may be about to receive it.
    if sign in {Sign.REFUSED, Sign.ENDED} or (sign is Sign.DOES_NOT_HOLD and state == "running"):
        return Action.RECOVER
    return Action.WAIT


def is_crowd(suspects: int, leased: int, thresholds: Thresholds = DEFAULT_THRESHOLDS) -> bool:
    """Return whether so many sessions look dead that Redis or the network is the likelier cause.

    Args:
        suspects: The number of sessions whose lease has run out.
        leased: The number of sessions with a lease.
        thresholds: What counts as a crowd.
    """
    is_many = suspects >= thresholds.crowd_min
    return is_many and suspects * 100 > leased * thresholds.crowd_percent
