"""The checklist of ``pytest --cordboard-log``: which module has a logger, and which was heard."""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Final

from cordboard.emit.logger import Logger
from cordboard.emit.witness import is_ours

_HAS_LOGGER: Final = re.compile(r"^\w+(?:: [\w.\[\]]+)? = (?:[\w.]+\.)?get_logger\(", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Row:
    """One module of the checklist.

    Attributes:
        services: As which services it spoke.
        lines: How many lines of it were seen.
        known: How many of them had a session.
    """

    module: str
    services: tuple[str, ...]
    lines: int
    known: int


def rows(heard: Counter[tuple[str, str, bool]], root: str) -> list[Row]:
    """Return a row for each module that was heard, or that has a logger and was not.

    Args:
        heard: Lines by module, service, and whether they had a session.
        root: The project's folder; modules elsewhere are not listed.
    """
    modules = {module for module, _, _ in heard} | set(loaded_with_logger(root))
    return [_row(module, heard) for module in sorted(modules)]


def _row(module: str, heard: Counter[tuple[str, str, bool]]) -> Row:
    mine = {key: lines for key, lines in heard.items() if key[0] == module}
    return Row(
        module,
        tuple(sorted({service for _, service, _ in mine})),
        sum(mine.values()),
        sum(lines for (_, _, known), lines in mine.items() if known),
    )


def loaded_with_logger(root: str) -> Iterator[str]:
    """Return the modules of the project that have a logger, in every package that was loaded."""
    for name, module in [*sys.modules.items()]:
        file = getattr(module, "__file__", None)
        if not file or not is_ours(file, root) or not _speaks(module):
            continue
        yield name
        package = sys.modules.get(name.partition(".")[0])
        for folder in getattr(package, "__path__", ()):
            yield from with_logger(Path(folder))


def _speaks(module: ModuleType) -> bool:
    return any(isinstance(value, Logger) for value in [*vars(module).values()])


def with_logger(package: Path) -> Iterator[str]:
    """Return the modules of a package whose source makes a logger."""
    for path in package.rglob("*.py"):
        if _HAS_LOGGER.search(path.read_text(encoding="utf-8", errors="replace")):
            parts = path.relative_to(package.parent).with_suffix("").parts
            yield ".".join(part for part in parts if part != "__init__")


def page(found: list[Row]) -> str:
    """Return the checklist as Markdown; without counts, which vary from run to run."""
    table = [
        f"| `{row.module}` | {', '.join(row.services)} | {_yes(row.lines)} | {_yes(row.known)} |"
        for row in found
    ]
    return "\n".join(
        [
            "# Who was heard",
            "",
            "Every module that has a logger: whether the tests heard it, as which service, and within a session.",
            "Written by `pytest --cordboard-log --cordboard-log-report FILE.md`.",
            "",
            "| module | as service | heard | with a session |",
            "|---|---|---|---|",
            *table,
            "",
        ]
    )


def _yes(count: int) -> str:
    return "yes" if count else "no"
