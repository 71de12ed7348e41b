"""docs/logging.md says what the code says."""

from pathlib import Path

from cordboard.contract.record import KEYS
from cordboard.emit.reference import MEANINGS, events_table, keys_table

PAGE = Path(__file__).parents[2] / "docs" / "logging.md"


def test_the_tables_are_current() -> None:
    """The page holds the tables of keys and events as the code has them."""
    page = PAGE.read_text(encoding="utf-8")
    assert f"<!-- generated: keys -->\n{keys_table()}\n<!-- end -->" in page
    assert f"<!-- generated: events -->\n{events_table()}\n<!-- end -->" in page


def test_every_key_has_a_meaning() -> None:
    """No key is without words, no words without a key."""
    assert set(MEANINGS) == set(KEYS)
