"""Figures of the source: size, comments, docstrings, suppressions and import cycles.

``scripts/figures.py`` prints a table by room; ``scripts/figures.py src/cordboard/store`` lists each place of
that folder that misses a limit. ``make lint`` runs ``scripts/figures.py --check``.
"""

import argparse
import ast
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parent.parent / "src" / "cordboard"
LINES_OF_A_FILE = 400
LINES_OF_A_FUNCTION = 40
NOQA = 60
COMMENTS_PER_100 = 3.0
STATED = 0.9


@dataclass
class Figures:
    """What was counted, and where a limit is missed."""

    lines: int = 0
    comments: int = 0
    noqa: int = 0
    functions: int = 0
    stated: int = 0
    misses: list[str] = field(default_factory=list)


def figures_of(path: Path) -> Figures:
    """Return the figures of one file of Python."""
    text = path.read_text()
    tree = ast.parse(text)
    figures = Figures(lines=len(text.splitlines()))
    name = path.relative_to(ROOT.parent.parent)
    figures.misses += _size_misses(name, tree, figures.lines)
    _count_comments(name, text, figures)
    figures.comments += _attribute_docs(tree)
    for function in _public(tree):
        unstated = _unstated(function)
        if unstated is None:
            continue
        figures.functions += 1
        figures.stated += not unstated
        if unstated:
            figures.misses.append(
                f"{name}:{function.lineno}: {function.name} does not state {', '.join(unstated)}"
            )
    return figures


def _count_comments(name: Path, text: str, figures: Figures) -> None:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and re.search(r"#\s*noqa", token.string):
            figures.noqa += 1
            figures.misses.append(f"{name}:{token.start[0]}: {token.string}")
        elif token.type == tokenize.COMMENT:
            figures.comments += 1


def _attribute_docs(tree: ast.Module) -> int:
    """Return how many strings describe the assignment above them: the form of a comment that mkdocs reads."""
    return sum(
        isinstance(first, ast.Assign | ast.AnnAssign)
        and isinstance(second, ast.Expr)
        and isinstance(second.value, ast.Constant)
        and isinstance(second.value.value, str)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef)
        for first, second in pairwise(node.body)
    )


def _size_misses(name: Path, tree: ast.Module, lines: int) -> Iterator[str]:
    if lines > LINES_OF_A_FILE:
        yield f"{name}: {lines} lines, at most {LINES_OF_A_FILE}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            yield f"{name}:{node.lineno}: assert"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1 - _docstring_lines(node)
            if length > LINES_OF_A_FUNCTION:
                yield f"{name}:{node.lineno}: {node.name}: {length} lines, at most {LINES_OF_A_FUNCTION}"


def _docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        return (first.end_lineno or 0) - first.lineno + 1
    return 0


def _public(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the public functions of a module and the public methods of its public classes."""
    for node in tree.body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        if isinstance(node, ast.ClassDef) and node.name.startswith("_"):
            continue
        for function in inside:
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                names = {ast.unparse(each).split("(")[0] for each in function.decorator_list}
                overrides = names & {"override", "typing.override", "overload"}
                if not function.name.startswith("_") and not overrides:
                    yield function


def _unstated(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str] | None:
    """Return the parameters that the docstring does not name, or None where there are no parameters.

    A parameter is named where it stands in backticks, or as an entry of ``Args:``.
    """
    rules = function.args
    every = [*rules.posonlyargs, *rules.args, *rules.kwonlyargs]
    every += [each for each in (rules.vararg, rules.kwarg) if each]
    names = [each.arg for each in every if each.arg not in {"self", "cls"} and each.arg[0] != "_"]
    if not names:
        return None
    text = ast.get_docstring(function) or ""
    return [
        name
        for name in names
        if not re.search(rf"`\**{name}\b|^\s+\**{name}( \(.*\))?:", text, re.MULTILINE)
    ]


def cycles(root: Path) -> list[str]:
    """Return the import cycles among the modules of `root`; imports inside functions count."""
    modules = {_module(path): path for path in root.rglob("*.py")}
    graph = {name: _imports(path, modules) - {name} for name, path in modules.items()}
    found = []
    while True:
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            cycle = error.args[1]
            found.append(" -> ".join(cycle))
            graph[cycle[1]].discard(cycle[0])
        else:
            return found


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path: Path, modules: dict[str, Path]) -> set[str]:
    imported: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{each.name}" for each in node.names}
            imported |= {each if each in modules else node.module for each in inner}
    return imported & set(modules)


def main() -> int:
    """Print the table, or the places of a folder, or what misses a limit; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "paths", nargs="*", type=Path, help="list each place of these that misses a limit"
    )
    parser.add_argument("--check", action="store_true", help="exit with 1 where a limit is missed")
    args = parser.parse_args()
    each = {path: figures_of(path) for path in sorted(ROOT.rglob("*.py"))}
    wanted = [path.resolve() for path in args.paths]
    for path, figures in each.items():
        if any(path.is_relative_to(folder) for folder in wanted):
            print(*figures.misses, sep="\n", end="\n" if figures.misses else "")
    if not wanted:
        _print_table(each)
    return _check(each) if args.check else 0


def _room(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return parts[0] if len(parts) > 1 else "."


def _print_table(each: dict[Path, Figures]) -> None:
    rooms = sorted({_room(path) for path in each})
    print(f"{'room':14} {'lines':>6} {'noqa':>5} {'comments/100':>13} {'arguments stated':>17}")
    for room in [*rooms, "all"]:
        some = [figures for path, figures in each.items() if room in {_room(path), "all"}]
        lines = sum(figures.lines for figures in some)
        stated, functions = (sum(getattr(f, key) for f in some) for key in ("stated", "functions"))
        print(
            f"{room:14} {lines:6} {sum(f.noqa for f in some):5}"
            f" {100 * sum(f.comments for f in some) / lines:13.1f}"
            f" {stated:8}/{functions:4} {stated / max(functions, 1):.0%}"
        )


def _check(each: dict[Path, Figures]) -> int:
    problems = []
    counts: Counter[str] = Counter()
    for figures in each.values():
        for key in ("noqa", "lines", "comments", "functions", "stated"):
            counts[key] += getattr(figures, key)
        problems += [miss for miss in figures.misses if "at most" in miss or ": assert" in miss]
    if counts["noqa"] > NOQA:
        problems.append(f"{counts['noqa']} noqa comments, at most {NOQA}")
    if 100 * counts["comments"] < COMMENTS_PER_100 * counts["lines"]:
        problems.append(f"fewer than {COMMENTS_PER_100} comments per 100 lines")
    if counts["stated"] < STATED * counts["functions"]:
        problems.append(
            f"{counts['stated']} of {counts['functions']} functions state their arguments"
        )
    problems += [f"import cycle: {cycle}" for cycle in cycles(ROOT)]
    print(*problems, sep="\n", end="\n" if problems else "", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
