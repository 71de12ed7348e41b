"""Which modules of a project have a logger, and which of them logged while the tests ran."""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Final

from cordboard.emit.logger import Logger
from cordboard.pytest_plugin.line_check import LineCounts, is_project_file

_MAKES_LOGGER: Final = re.compile(
    r"^\w+(?:: [\w.\[\]]+)? = (?:[\w.]+\.)?get_logger\(", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class ModuleCoverage:
    """What one module logged.

    Attributes:
        module: The module's dotted name.
        services: The services as which it logged.
        lines: How many lines it wrote.
        session_lines: How many of them carried a session.
    """

    module: str
    services: tuple[str, ...]
    lines: int
    session_lines: int


def module_coverage(counts: LineCounts, root: str) -> list[ModuleCoverage]:
    """Return the coverage of each module that logged, or that has a logger.

    Args:
        counts: The lines that were observed.
        root: The project's folder; modules elsewhere are left out.
    """
    modules = {module for module, _, _ in counts} | set(_loaded_modules_with_logger(root))
    return [_coverage_of(module, counts) for module in sorted(modules)]


def _coverage_of(module: str, counts: LineCounts) -> ModuleCoverage:
    own_counts = {key: lines for key, lines in counts.items() if key[0] == module}
    return ModuleCoverage(
        module,
        tuple(sorted({service for _, service, _ in own_counts})),
        sum(own_counts.values()),
        sum(lines for (_, _, has_session), lines in own_counts.items() if has_session),
    )


def _loaded_modules_with_logger(root: str) -> Iterator[str]:
    """Yield modules of the project with a logger, from each package of which one is loaded."""
    # Copies, here and below: a lazy import may change both while they are read.
    for name, module in [*sys.modules.items()]:
        file = getattr(module, "__file__", None)
        if not file or not is_project_file(file, root) or not _has_logger(module):
            continue
        yield name
        package = sys.modules.get(name.partition(".")[0])
        for folder in getattr(package, "__path__", ()):
            yield from modules_with_logger(Path(folder))


def _has_logger(module: ModuleType) -> bool:
    return any(isinstance(value, Logger) for value in [*vars(module).values()])


def modules_with_logger(package: Path) -> Iterator[str]:
    """Yield the dotted name of each module in the folder `package` whose source makes a logger.

    The sources are searched, not imported: a module that no test imports is the one to find.
    """
    for path in package.rglob("*.py"):
        if _MAKES_LOGGER.search(path.read_text(encoding="utf-8", errors="replace")):
            parts = path.relative_to(package.parent).with_suffix("").parts
            yield ".".join(part for part in parts if part != "__init__")


def coverage_page(modules: list[ModuleCoverage]) -> str:
    """Return a Markdown page about `modules`, without the counts, which vary from run to run."""
    table = [
        f"| `{module.module}` | {', '.join(module.services)} | {_yes_or_no(module.lines)} "
        f"| {_yes_or_no(module.session_lines)} |"
        for module in modules
    ]
    return "\n".join(
        [
            "# Log coverage",
            "",
            "Each module that has a logger: the services for which it logged while the tests ran, whether it",
            "logged at all, and whether it logged within a session.",
            "Written by `pytest --cordboard-log --cordboard-log-report FILE.md`.",
            "",
            "| module | services | logged | in a session |",
            "|---|---|---|---|",
            *table,
            "",
        ]
    )


def _yes_or_no(count: int) -> str:
    return "yes" if count else "no"
