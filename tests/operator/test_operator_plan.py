"""The operator's plan, as a table: what is known of a suspect, and what is done."""

import pytest

from cordboard.contract.lease import LEASE_S, OUTAGE_TOLERANCE_S, SILENCE_S, Periods
from cordboard.operator.plan import (
    GIVE_UP_OVERDUE_MS,
    Action,
    Finding,
    Sign,
    Thresholds,
    decide,
    is_crowd,
)

LONG = GIVE_UP_OVERDUE_MS
PATIENCE_S = Thresholds().patience_s


@pytest.mark.parametrize(
    ("suspects", "leased", "crowd"),
    [(1, 1, False), (2, 2, False), (3, 3, True), (3, 6, False), (4, 6, True), (50, 100, False)],
)
def test_three_or_more_above_the_share_are_a_crowd(suspects: int, leased: int, crowd: bool) -> None:
    """Three or more, and more than the set share, are a crowd."""
    assert is_crowd(suspects, leased, Thresholds(crowd_percent=50)) is crowd


@pytest.mark.parametrize("sign", [Sign.HOLDS, Sign.SILENT])
def test_silence_counts_only_after_patience(sign: Sign) -> None:
    """Silence alone counts only for an operator that has seen it for a while by its own clock."""
    assert decide(Finding(10 * LONG, sign, seen_s=PATIENCE_S - 1)) is Action.WAIT
    assert decide(Finding(10 * LONG, sign, seen_s=PATIENCE_S)) is Action.RECOVER


@pytest.mark.parametrize(
    ("sign", "action"),
    [
        (Sign.HOLDS, Action.WAIT),
        (Sign.SILENT, Action.WAIT),
        (Sign.DOES_NOT_HOLD, Action.START_AGAIN),
        (Sign.OVER, Action.WRITE_END),
        (Sign.REFUSED, Action.RECOVER),
        (Sign.ENDED, Action.RECOVER),
    ],
)
def test_lost_hand_over_is_repeated(sign: Sign, action: Action) -> None:
    """A hand-over that its runner never got is made anew; a dead runner's session is recovered."""
    assert decide(Finding(1, sign, PATIENCE_S, "starting")) is action


@pytest.mark.parametrize("lease_s", [1.0, 15.0, 60.0])
def test_holder_stops_before_it_is_given_up_for_every_lease(lease_s: float) -> None:
    """Whatever the lease, a holder stops before it is given up, and renews well before it ends."""
    periods = Periods(lease_s)
    assert periods.renewal_s * 3 == pytest.approx(lease_s)
    assert periods.lease_s < periods.tolerance_s < periods.silence_s
    overdue = round((periods.silence_s - lease_s) * 1000)
    assert decide(Finding(overdue, Sign.SILENT, 99), periods) is Action.RECOVER
    assert decide(Finding(overdue - 1, Sign.SILENT, 99), periods) is Action.WAIT


@pytest.mark.parametrize(
    ("sign", "overdue_ms", "action"),
    [
        (Sign.HOLDS, 1, Action.WAIT),
        (Sign.HOLDS, LONG - 1, Action.WAIT),
        (Sign.HOLDS, LONG, Action.RECOVER),
        (Sign.SILENT, 1, Action.WAIT),
        (Sign.SILENT, LONG - 1, Action.WAIT),
        (Sign.SILENT, LONG, Action.RECOVER),
        (Sign.DOES_NOT_HOLD, 1, Action.RECOVER),
        (Sign.OVER, 1, Action.WRITE_END),
        (Sign.REFUSED, 1, Action.RECOVER),
        (Sign.ENDED, 1, Action.RECOVER),
    ],
)
def test_recovery_needs_confirmed_death_or_long_silence(
    sign: Sign, overdue_ms: int, action: Action
) -> None:
    """Recovery needs a confirmed death, or a silence in which the holder must have stopped."""
    assert decide(Finding(overdue_ms, sign, PATIENCE_S)) is action


def test_a_silent_holder_has_stopped_before_it_is_given_up() -> None:
    """The holder's own bound is shorter than ours, so that two bots never meet."""
    assert OUTAGE_TOLERANCE_S < SILENCE_S
    assert round(SILENCE_S * 1000) == round(LEASE_S * 1000) + GIVE_UP_OVERDUE_MS
