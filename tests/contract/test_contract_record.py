"""Levels of any library come to one of ours, and the record's own tables agree with each other."""

import pytest

from cordboard.contract.record import (
    EVENTS,
    KEYS,
    LEVELS,
    REQUIRED_KEYS,
    level_from_name,
    level_from_number,
)


@pytest.mark.parametrize(
    ("names", "level"),
    [
        (["trace", "DEBUG", "notset", "verbose"], "debug"),
        (["info", "SUCCESS", "notice", "log"], "info"),
        (["warn", "WARNING"], "warn"),
        (
            ["error", "err", "CRITICAL", "fatal", "alert", "emergency", "panic", "exception"],
            "error",
        ),
    ],
)
def test_level_of_any_library_has_a_nearest_level(names: list[str], level: str) -> None:
    """Names map to the nearest level, in any case."""
    assert {level_from_name(name) for name in names} == {level}


def test_unknown_level_is_none() -> None:
    """What names no level is told apart, and not taken for one."""
    assert level_from_name("loud") is None


@pytest.mark.parametrize(
    ("number", "level"),
    [(0, "debug"), (5, "debug"), (10, "debug"), (19, "debug"), (20, "info"), (25, "info"),
     (29.5, "info"), (30, "warn"), (39, "warn"), (40, "error"), (50, "error"), (99, "error")],
)  # fmt: skip
def test_number_maps_to_the_level_below(number: float, level: str) -> None:
    """A number between two levels is the lower one's: loguru's SUCCESS (25) is info."""
    assert level_from_number(number) == level


def test_tables_are_consistent() -> None:
    """Required keys are keys, in the same order; levels rise; events are of two words."""
    assert [key for key in KEYS if key in REQUIRED_KEYS] == list(REQUIRED_KEYS)
    assert list(LEVELS.values()) == sorted(LEVELS.values())
    assert all(event.count(".") == 1 and meaning for event, meaning in EVENTS.items())
