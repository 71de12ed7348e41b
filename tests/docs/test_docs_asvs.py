"""docs/asvs.md covers each requirement of its chapters, and names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "asvs.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`([\w/]+/test_\w+\.py)(?:::(\w+))?`", PAGE)
# The requirements of levels 1 and 2 in ASVS 5.0.0, by section; for V10, those of a client.
REQUIRED = {
    "1.1": (1, 2), "1.2": (1, 2, 3, 4, 5, 6, 7, 8, 9), "1.3": range(1, 12), "1.4": (1, 2, 3), "1.5": (1, 2),
    "3.2": (1, 2), "3.3": (1, 2, 3, 4), "3.4": range(1, 7), "3.5": range(1, 6), "3.7": (1, 2),
    "5.1": (1,), "5.2": (1, 2, 3), "5.3": (1, 2), "5.4": (1, 2, 3),
    "7.1": (1, 2, 3), "7.2": range(1, 5), "7.3": (1, 2), "7.4": range(1, 6), "7.5": (1, 2), "7.6": (1, 2),
    "8.1": (1, 2), "8.2": (1, 2, 3), "8.3": (1,), "8.4": (1,),
    "9.1": (1, 2, 3), "9.2": range(1, 5),
    "10.1": (1, 2), "10.2": (1, 2), "10.5": range(1, 6),
}  # fmt: skip


def rows() -> list[tuple[str, str]]:
    """Return the requirements and the rest of each row in the tables of the chapters."""
    chapters = PAGE[PAGE.index("## V1 ") :]
    return re.findall(r"^\| (\d[\d., ]*) \| (.*) \|$", chapters, re.MULTILINE)


def test_each_requirement_has_one_row() -> None:
    """None is left out, and none is answered twice."""
    listed = [number for numbers, _ in rows() for number in numbers.split(", ")]
    required = {f"{section}.{number}" for section, all_ in REQUIRED.items() for number in all_}
    assert sorted(listed) == sorted(required)


def test_each_named_test_exists() -> None:
    """A requirement whose test was renamed or removed is no longer shown to be met."""
    missing = [
        f"{file}::{name}"
        for file, name in NAMED
        if not (ROOT / "tests" / file).is_file()
        or (name and f"def {name}(" not in (ROOT / "tests" / file).read_text(encoding="utf-8"))
    ]
    assert missing == []


def test_each_row_names_a_test_or_says_why_not() -> None:
    """A row without a test says so, or refers to what is documented."""
    excuses = ("Does not apply", "documents them", "see above")
    bare = [row for row in rows() if "::" not in row[1] and ".py`" not in row[1]]
    assert [row for row in bare if not any(excuse in row[1] for excuse in excuses)] == []
