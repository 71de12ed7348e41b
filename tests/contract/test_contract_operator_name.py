"""What an operator's name says of its cold runners."""

import pytest

from cordboard.contract.operator_name import can_start_cold, cold_suffix, max_cold_runners


@pytest.mark.parametrize(
    ("bots", "bot", "expected"),
    [
        (None, "any", True),
        ({"default", "sales"}, "sales", True),
        ({"default"}, "sales", False),
        (set(), "", False),
    ],
)
def test_operator_name_says_what_it_can_start(
    bots: set[str] | None, bot: str, *, expected: bool
) -> None:
    """Both sides of the name agree, whatever stands before its end."""
    name = "host-1-ab" + cold_suffix(8, bots)
    assert max_cold_runners(name) == 8
    assert can_start_cold(name, bot or "default") is expected


@pytest.mark.parametrize("name", ["", "host-1-ab", "host/cold=", "host/cold=x:*", "host/cold=-3:*"])
def test_name_without_suffix_can_start_nothing(name: str) -> None:
    """An operator without a launcher, or of another release, is counted for no cold runner."""
    assert max_cold_runners(name) == 0
