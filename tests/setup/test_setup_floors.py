"""What may be installed has no vulnerability that was known when the floors were set."""

import re
import tomllib
from collections.abc import Iterable
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# The first release without the advisory that decides about the floor.
FIXED = {
    "aiohttp": ("3.13.4", "CVE-2026-34525"),
    "jinja2": ("3.1.6", "CVE-2025-27516"),
    "python-multipart": ("0.0.22", "CVE-2026-24486"),
    "starlette": ("1.3.1", "CVE-2026-54283"),
}


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def lowest(versions: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the lowest version of each name; a name may differ between versions of Python."""
    return {
        name: min((version for _, version in pairs), key=numbers)
        for name, pairs in groupby(sorted(versions), key=itemgetter(0))
    }


def floors() -> dict[str, str]:
    """Return the lowest version of each requirement of the package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    found = (re.match(r"([\w.-]+)(?:\[.*\])?>=([\d.]+)", line) for line in lines)
    return lowest((match[1], match[2]) for match in found if match)


@pytest.mark.parametrize("name", FIXED)
def test_vulnerable_releases_are_excluded(name: str) -> None:
    """`pip install cordboard[serve]` in an old environment brings it up to date."""
    fixed, advisory = FIXED[name]
    assert numbers(floors()[name]) >= numbers(fixed), advisory


@pytest.mark.parametrize("file", ["up.txt", "dev.txt"])
def test_locked_versions_meet_the_lower_bounds(file: str) -> None:
    """The lock is not below a floor: it was made anew when the floor rose."""
    text = (ROOT / "requirements" / file).read_text(encoding="utf-8")
    locked = lowest(re.findall(r"^([\w.-]+)==([\d.]+)\s", text, re.MULTILINE))
    allowed = floors()
    assert {name for name in FIXED if name not in locked} == set()
    for name in set(locked) & set(allowed):
        assert numbers(locked[name]) >= numbers(allowed[name]), name
