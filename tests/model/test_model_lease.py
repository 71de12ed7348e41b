"""The lease protocol, checked in every state, and the need for each of its rules."""

from dataclasses import fields, replace

import pytest

from model.lease_model import Rules, check

NEEDED = [item.name for item in fields(Rules)]


def test_no_reachable_state_has_two_bots() -> None:
    """In no reachable state do two bots speak in one room."""
    states, way = check(Rules())
    assert way == []
    assert states > 5_000


@pytest.mark.parametrize("rule", NEEDED)
def test_checker_finds_a_violation_without(rule: str) -> None:
    """With any one rule switched off the checker finds a way to break a guarantee."""
    _, way = check(replace(Rules(), **{rule: False}))
    assert way
