"""docs/reading.md says what the command does."""

import re
from pathlib import Path
from typing import get_args

from cordboard.logs.conditions import parse
from cordboard.logs.coverage import REASONS
from cordboard.logs.line import Attribution

PAGE = (Path(__file__).parents[2] / "docs" / "reading.md").read_text(encoding="utf-8")


def test_every_reason_is_explained() -> None:
    """The page's table of reasons is the code's."""
    part = PAGE.partition("| reason | meaning |")[2].partition("\n\n")[0]
    told = {
        name
        for row in part.splitlines()
        for name in re.findall(r"`(\w+)`", row.split("|")[1:2][0] if "|" in row else "")
    }
    assert told == set(REASONS)


def test_every_attribution_is_explained() -> None:
    """So are the ways in which a line's session is known."""
    assert all(f"\n| {how} |" in PAGE for how in get_args(Attribution))


def test_every_condition_is_one() -> None:
    """Each example of a condition is accepted."""
    part = PAGE.partition("## Conditions")[2].partition("A FIELD is")[0]
    examples = [
        cell
        for row in part.splitlines()
        for cell in re.findall(r"`([^`]+)`", row.split("|")[2:3][0] if row.count("|") > 2 else "")
    ]
    assert len(examples) == 6
    for text in examples:
        parse(text)
