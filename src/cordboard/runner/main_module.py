"""Run a bot file as the main module of its process, as ``python bot.py`` and ``python -m`` do.

One difference is wanted: the module's name is ``__mp_main__`` and not ``__main__``, so that the lines below
``if __name__ == "__main__"``, which start Pipecat's own runner, do not run. ``multiprocessing`` gives this name
to a main module that it imports again in a process of a pool, for the same reason. Functions of the bot file
can therefore be pickled, and ``load_dotenv`` finds the ``.env`` beside the bot file, also inside ``bot()``.
"""

import ast
import sys
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Final

MAIN_NAME: Final = "__mp_main__"


@dataclass(frozen=True, slots=True)
class _Package:
    """The package of a bot file, for ``from . import x``.

    Attributes:
        name: Its dotted name.
        root: The directory that contains the outermost package.
    """

    name: str
    root: Path


class _MainLoader(SourceFileLoader):
    """Compiles the present content of a file; a byte code file could be that of an earlier link target."""

    def get_code(self, _fullname: str) -> CodeType:
        """Return the code of the file."""
        code: CodeType = self.source_to_code(self.get_data(self.path), self.path)
        return code


def run_as_main(path: Path) -> ModuleType:
    """Run a bot file as this process's main module, and return the module.

    ``sys.argv``, ``sys.path`` and ``sys.modules["__main__"]`` stay as the bot file needs them, for imports
    and look-ups inside ``bot()``.

    Args:
        path: The absolute path of the file. Links in it are not resolved: a ConfigMap replaces the target.

    Raises:
        BaseException: Whatever the file raises.
    """
    loader = _MainLoader(MAIN_NAME, str(path))
    module = ModuleType(MAIN_NAME)
    module.__file__, module.__loader__ = str(path), loader
    package = _package_of(path)
    if package is not None:
        # As `python -m`: a process of a pool imports the module by this name, where relative imports work.
        module.__package__ = package.name
        module.__spec__ = ModuleSpec(f"{package.name}.{path.stem}", loader, origin=str(path))
    sys.modules["__main__"] = sys.modules[MAIN_NAME] = module
    sys.argv = [str(path)]
    sys.path[:] = _search_path(path, package)
    loader.exec_module(module)
    return module


def _package_of(path: Path) -> _Package | None:
    """Return the package of the file at `path`; None for a file without relative imports, a script.

    The directories above the file need no ``__init__.py``, as for ``python -m``.
    """
    tree = ast.parse(path.read_bytes())
    levels = [node.level for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    level = max(levels, default=0)
    if not level or level >= len(path.parents):
        return None
    root = path.parents[level]
    while (root / "__init__.py").is_file():
        root = root.parent
    return _Package(".".join(path.parent.relative_to(root).parts), root)


def _search_path(path: Path, package: _Package | None) -> list[str]:
    """Return ``sys.path`` for the file at `path`.

    ``python bot.py`` searches the directory of the file that the link leads to. Here the directory of the
    named file comes first: the target of a ConfigMap's link is deleted when the ConfigMap changes. The working
    directory, which ``python -m`` searches first, comes last, so that no file in it hides a module.
    """
    folders = [str(path.parent), str(path.resolve().parent)]
    if package is not None:
        folders.insert(0, str(package.root))
    return list(dict.fromkeys([*folders, *filter(None, sys.path), str(Path.cwd())]))
