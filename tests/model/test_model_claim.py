"""The claim of an id over shards, checked exhaustively; and that each of its rules is needed."""

from dataclasses import fields, replace

import pytest

from model.claim_model import Rules, check

NEEDED = [item.name for item in fields(Rules)]


def test_an_id_lives_once() -> None:
    """In no state that can be reached does the id live twice, or elsewhere than its entry says."""
    states, way = check(Rules())
    assert way == []
    assert states > 5_000


@pytest.mark.parametrize("rule", NEEDED)
def test_each_rule_is_needed_for_it(rule: str) -> None:
    """Without any one of the rules the checker finds a way to break a promise."""
    _, way = check(replace(Rules(), **{rule: False}))
    assert way
