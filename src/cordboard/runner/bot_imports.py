"""Find what a bot file imports, without running it: its own modules, and packages that are not installed.

Only imports that Python runs when it loads the file are followed: those inside functions, under
``if TYPE_CHECKING``, for other versions of Python or other systems, and those whose failure is handled are not.
"""

import ast
import itertools
import operator
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

# Pipecat's services are modules of this package; each names its extra in the message of a failed import.
_PIPECAT: Final = "pipecat"
_EXTRA: Final = re.compile(r"pipecat-ai\[([a-z0-9_,-]+)\]")

# The errors by which a file handles the absence of a module.
_IMPORT_ERRORS: Final = frozenset({"ImportError", "ModuleNotFoundError", "Exception"})

_COMPARISONS: Final[dict[type[ast.cmpop], Callable[[Any, Any], bool]]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


@dataclass(frozen=True, slots=True)
class MissingModule:
    """A module that is imported and not installed.

    Attributes:
        name: The name in the import, such as ``google.genai``.
        importer: The module of Pipecat that imports it; empty if the bot's own files do.
        extra: The extras of ``pipecat-ai`` that this module names, separated by commas.
    """

    name: str
    importer: str = ""
    extra: str = ""


@dataclass(frozen=True, slots=True)
class BotImports:
    """What a bot file imports.

    Attributes:
        files: The bot file, and the modules beside it that it imports, directly or not.
        missing: The modules that are not installed, in the order of the imports.
        changes_path: Whether a file changes ``sys.path``, so that a module that seems to be missing may be
            in a directory that is added.
    """

    files: tuple[Path, ...]
    missing: tuple[MissingModule, ...]
    changes_path: bool


@dataclass(frozen=True, slots=True)
class _Import:
    """One module in an import statement.

    Attributes:
        name: Its dotted name; that of a relative import is complete.
        names: What ``from name import ...`` names, which may be modules.
        extra: The extras that the message of the surrounding ``try`` names.
    """

    name: str
    names: tuple[str, ...] = ()
    extra: str = ""


def find_imports(file: Path) -> BotImports:
    """Return what the bot file `file`, and the modules beside it, import.

    A file that cannot be read or parsed counts as one without imports.
    """
    scan = _Scan(file)
    scan.visit(file, "", "")
    missing = {item.name: item for item in reversed(scan.missing)}
    return BotImports(tuple(scan.files), tuple(reversed(list(missing.values()))), scan.changes_path)


def find_own_files(file: Path) -> list[Path]:
    """Return the bot file `file`, the modules beside it that it imports, and where missing ones would be."""
    PathFinder.invalidate_caches()  # a file may just have been created
    scan = _Scan(file, follows_pipecat=False)
    scan.visit(file, "", "")
    tops = [item.name.partition(".")[0] for item in scan.missing]
    absent = [[file.parent / f"{top}.py", file.parent / top / "__init__.py"] for top in tops]
    return [*scan.files, *itertools.chain.from_iterable(absent)]


class _Scan:
    """Follows imports from file to file.

    Args:
        file: The bot file.
        follows_pipecat: Whether to follow imports in the files of Pipecat.
    """

    def __init__(self, file: Path, *, follows_pipecat: bool = True) -> None:
        # As Python's search path for the file: beside the link, beside its target, and at last where the
        # command runs.
        self._beside = list(dict.fromkeys([str(file.parent), str(file.resolve().parent)]))
        self._follows_pipecat = follows_pipecat
        self._seen: set[Path] = set()
        self.files: list[Path] = []
        self.missing: list[MissingModule] = []
        self.changes_path = False

    def visit(self, file: Path, module: str, extra: str) -> None:
        """Follow the imports of a file.

        Args:
            file: The file of the bot, or of Pipecat.
            module: Its dotted name; empty for the bot file.
            extra: The extra of ``pipecat-ai`` of the file that imports it.
        """
        if file in self._seen:
            return
        self._seen.add(file)
        is_own = module.partition(".")[0] != _PIPECAT
        if is_own:
            self.files.append(file)
        try:
            tree = ast.parse(file.read_bytes())
        except (OSError, SyntaxError, ValueError):
            return
        if is_own:
            self.changes_path |= any(_is_search_path(node) for node in ast.walk(tree))
        package = module if file.name == "__init__.py" else module.rpartition(".")[0]
        for item in _imports(tree.body, package, ""):
            self._follow(item, module, item.extra or extra)

    def _follow(self, item: _Import, importer: str, extra: str) -> None:
        """Follow one import of the module `importer`, or record it as missing."""
        top = item.name.partition(".")[0]
        own_files = list(_files_of(item, self._beside))
        if not own_files and top == _PIPECAT:
            files = _pipecat_files(item) if self._follows_pipecat else ()
            for name, file in files:
                self.visit(file, name, _extra_of_path(name) or extra)
            return
        absent = "" if own_files or top in sys.stdlib_module_names else _absent_name(item)
        if absent:
            own_files = list(_files_of(item, [str(Path.cwd())]))
        for name, file in own_files:
            self.visit(file, name, extra)
        if absent and not own_files:
            is_pipecats = importer.partition(".")[0] == _PIPECAT
            self.missing.append(
                MissingModule(absent, importer, extra) if is_pipecats else MissingModule(absent)
            )


def _imports(body: list[ast.stmt], package: str, extra: str) -> Iterator[_Import]:
    """Yield the imports of statements, and of those inside them that run at import."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (_Import(alias.name, (), extra) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            name = _absolute_name(node, package)
            if name:
                yield _Import(name, tuple(alias.name for alias in node.names), extra)
        elif isinstance(node, ast.If):
            yield from _imports(_branch(node), package, extra)
        elif isinstance(node, ast.Try):
            if not any(_handles_absence(handler) for handler in node.handlers):
                named = _EXTRA.search(" ".join(map(ast.unparse, node.handlers)))
                yield from _imports(node.body, package, named.group(1) if named else extra)
            yield from _imports([*node.orelse, *node.finalbody], package, extra)
        elif isinstance(node, ast.With | ast.ClassDef | ast.For | ast.While):
            yield from _imports(node.body, package, extra)


def _absolute_name(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".") if package else []
    base = parts[: len(parts) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def _is_main_guard(test: ast.expr) -> bool:
    return "__name__" in {node.id for node in ast.walk(test) if isinstance(node, ast.Name)}


def _branch(node: ast.If) -> list[ast.stmt]:
    """Return the statements of a condition that are taken to run at import."""
    if _is_for_others(node.test):
        return node.orelse
    is_live = "TYPE_CHECKING" not in ast.unparse(node.test) and not _is_main_guard(node.test)
    return node.body if is_live else []


def _is_for_others(test: ast.expr) -> bool:
    """Return whether a condition is for other versions of Python, or other systems, alone."""
    if not isinstance(test, ast.Compare) or len(test.ops) != 1:
        return False
    here = {
        "sys.version_info": tuple(sys.version_info[:3]),
        "sys.version_info[:2]": tuple(sys.version_info[:2]),
        "sys.platform": sys.platform,
        "os.name": os.name,
    }.get(ast.unparse(test.left))
    compare = _COMPARISONS.get(type(test.ops[0]))
    if here is None or compare is None:
        return False
    try:
        return not compare(here, ast.literal_eval(test.comparators[0]))
    except (ValueError, TypeError):  # it is compared with a variable, or with something else
        return False


def _handles_absence(handler: ast.ExceptHandler) -> bool:
    """Return whether an ``except`` lets the file go on without the module."""
    caught = handler.type
    names = {"Exception"} if caught is None else {ast.unparse(item) for item in _items(caught)}
    raises = any(isinstance(node, ast.Raise) for node in ast.walk(handler))
    return bool(names & _IMPORT_ERRORS) and not raises


def _items(caught: ast.expr) -> list[ast.expr]:
    return caught.elts if isinstance(caught, ast.Tuple) else [caught]


def _is_search_path(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and node.attr == "path"
        and isinstance(node.value, ast.Name)
        and node.value.id == "sys"
    )


def _files_of(item: _Import, directories: list[str]) -> Iterator[tuple[str, Path]]:
    """Yield name and file of each module that an import loads from `directories`, outermost first."""
    names = [item.name, *(f"{item.name}.{name}" for name in item.names)]
    yielded: set[str] = set()
    for name in names:
        parts, where = name.split("."), directories
        for end in range(1, len(parts) + 1):
            dotted = ".".join(parts[:end])
            spec = _spec_in(where, parts[end - 1])
            if spec is None:
                break
            if spec.has_location and spec.origin and dotted not in yielded:
                yielded.add(dotted)
                yield dotted, Path(spec.origin)
            where = list(spec.submodule_search_locations or [])


def _pipecat_files(item: _Import) -> Iterator[tuple[str, Path]]:
    spec = find_spec(_PIPECAT)
    for location in (spec.submodule_search_locations or []) if spec else []:
        yield from _files_of(item, [str(Path(location).parent)])


def _extra_of_path(module: str) -> str:
    """Return the part of a Pipecat module's name that names its service; empty if it has none."""
    _, kind, service, *_ = [*module.split("."), "", ""]
    return service if kind in {"services", "transports"} else ""


def _absent_name(item: _Import) -> str:
    """Return the name of a module of an import that is not installed; empty if all are.

    Nothing is imported for the answer, so modules of packages that are installed are not looked up. The
    exception are namespace packages such as ``google``, which several distributions share.
    """
    top, *inner = item.name.split(".")
    spec, name = _top_spec(top), top
    for part in inner:
        if spec is None or not _is_namespace(spec):
            break
        name = f"{name}.{part}"
        spec = _spec_in(list(spec.submodule_search_locations or []), part)
    if spec is None:
        return name
    if not _is_namespace(spec):
        return ""
    where = list(spec.submodule_search_locations or [])
    return next((f"{name}.{part}" for part in item.names if _spec_in(where, part) is None), "")


def _spec_in(directories: list[str], name: str) -> ModuleSpec | None:
    """Return the specification of a module in one of `directories`.

    Args:
        directories: Where the module's package has its modules.
        name: The last part of the module's name; with the whole one, Python would look for its package
            among the modules that are imported.
    """
    return PathFinder.find_spec(name, directories)


def _top_spec(name: str) -> ModuleSpec | None:
    try:
        return find_spec(name)
    except (ImportError, ValueError):  # a module without a specification, such as a test's stand-in
        return None


def _is_namespace(spec: ModuleSpec) -> bool:
    return spec.origin is None and spec.submodule_search_locations is not None
