"""The claim of a session id over shards, checked in every state, and the need for each of its rules."""

from dataclasses import fields, replace

import pytest

from model.claim_model import Rules, check

NEEDED = [item.name for item in fields(Rules)]


def test_id_is_live_in_one_shard_at_most() -> None:
    """In no reachable state is the id live twice, or in another shard than its entry says."""
    states, way = check(Rules())
    assert way == []
    assert states > 5_000


@pytest.mark.parametrize("rule", NEEDED)
def test_checker_finds_a_violation_without(rule: str) -> None:
    """With any one rule switched off the checker finds a way to break a guarantee."""
    _, way = check(replace(Rules(), **{rule: False}))
    assert way
