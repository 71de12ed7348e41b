"""The operator's plan, as a table: what is known of a suspect, and what is done."""

import pytest

from cordboard.contract.lease import LEASE_S, OUTAGE_TOLERANCE_S, SILENCE_S
from cordboard.operator.plan import GIVE_UP_OVERDUE_MS, Action, Finding, Sign, decide

LONG = GIVE_UP_OVERDUE_MS


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
        (Sign.REFUSED, 1, Action.RECOVER),
        (Sign.ENDED, 1, Action.RECOVER),
    ],
)
def test_decide(sign: Sign, overdue_ms: int, action: Action) -> None:
    """Recovery needs a confirmed death, or a silence in which the holder must have stopped."""
    assert decide(Finding(overdue_ms, sign)) is action


def test_a_silent_holder_has_stopped_before_it_is_given_up() -> None:
    """The holder's own bound is shorter than ours, so that two bots never meet."""
    assert OUTAGE_TOLERANCE_S < SILENCE_S
    assert round(SILENCE_S * 1000) == round(LEASE_S * 1000) + GIVE_UP_OVERDUE_MS
