"""Reading the pages of docs/: their tables and what they put into code."""

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONTRACT = ROOT / "docs" / "contract"
SOURCE = ROOT / "src" / "cordboard"
# By name: the scripts are not part of what is type-checked.
docs = import_module("docs")
docs_contract = import_module("docs_contract")
source_trees: Callable[[], dict[Path, ast.Module]] = docs_contract.source_trees
_CODE = re.compile(r"`([^`\n]+)`")


@cache
def page(name: str) -> str:
    """Return a page of the contract."""
    return (CONTRACT / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """Return what stands below a heading, up to the next one of its rank or above."""
    rank = heading.partition(" ")[0]
    start = text.index(f"\n{heading}\n")
    below = text[start + 1 :]
    end = re.search(rf"\n#{{1,{len(rank)}}} ", below)
    return below[: end.start()] if end else below


def rows(text: str, first_column: str) -> Iterator[list[str]]:
    """Yield the cells of each row of the tables whose first column has this name."""
    inside = False
    for line in text.splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if inside and not set(line) <= set("|- "):
            yield cells
        elif cells[0] == first_column:
            inside = True


def codes(text: str) -> list[str]:
    """Return what a text puts into code."""
    return _CODE.findall(text)


def first_codes(text: str, first_column: str) -> set[str]:
    """Return what the first column of tables puts into code."""
    return {name for cells in rows(text, first_column) for name in codes(cells[0])}


@cache
def words_of_source() -> frozenset[str]:
    """Every word of the package's Python, Lua and JavaScript source."""
    found: set[str] = set()
    for path in SOURCE.rglob("*"):
        if path.suffix in {".py", ".lua", ".js"}:
            found |= set(re.findall(r"\w+", path.read_text(encoding="utf-8")))
    return frozenset(found)
