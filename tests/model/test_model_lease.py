"""The lease protocol, checked exhaustively; and that each of its rules is needed."""

from dataclasses import fields, replace

import pytest

from model.lease_model import Rules, check

NEEDED = [item.name for item in fields(Rules)]


def test_no_two_bots() -> None:
    """In no state that can be reached do two bots speak in one room."""
    states, way = check(Rules())
    assert way == []
    assert states > 5_000


@pytest.mark.parametrize("rule", NEEDED)
def test_each_rule_is_needed(rule: str) -> None:
    """Without any one of the rules the checker finds a way to break a promise."""
    _, way = check(replace(Rules(), **{rule: False}))
    assert way
