"""docs/security.md names, for each guarantee, the tests that hold it."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)


def test_each_test_that_the_page_names_exists() -> None:
    """A guarantee whose test was renamed or removed is no longer shown to hold."""
    missing = [
        f"{file}::{name}"
        for file, name in NAMED
        if not (ROOT / file).is_file()
        or (name and f"def {name}(" not in (ROOT / file).read_text(encoding="utf-8"))
    ]
    assert missing == []
