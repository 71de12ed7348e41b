"""Runs a function right after a module has been imported for the first time.

The alternative, importing the module to change it, would make every program pay for it.
"""

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final


class _Finder:
    """A finder of modules that asks the others, and wraps the loader of the awaited modules.

    Attributes:
        actions: The functions to run, by the name of the module.
    """

    def __init__(self) -> None:
        self.actions: dict[str, Callable[[], None]] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of an awaited module, with a wrapped loader; None for all others.

        Args:
            fullname: The dotted name of the module.
            path: The folders of its package.
            target: The module that is reloaded, if one is.
        """
        # Removed first: the other finders may import the package, which comes here again.
        action = self.actions.pop(fullname, None)
        if action is None:
            return None
        # Through all other finders: an editable install or another hook may provide the module.
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _LoaderWithAction(spec.loader, action)
                return spec
        self.actions[fullname] = action  # not installed, at least not yet
        return None


class _LoaderWithAction(Loader):
    """Loads a module by the original loader, restores that one, and runs the action.

    All other methods, such as ``get_source``, are those of the original loader.

    Args:
        loader: The original loader.
        action: The function to run.
    """

    def __init__(self, loader: Loader, action: Callable[[], None]) -> None:
        self._loader = loader
        self._action = action

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Create the module for `spec` by the original loader."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Execute `module` by the original loader, then run the action."""
        # Code that asks a module for its loader, as inspect does, must get the original one.
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._action()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


_finder: Final = _Finder()


def run_after_import(module: str, action: Callable[[], None]) -> None:
    """Run `action` once, as soon as `module` has been imported.

    Args:
        module: The dotted name of a module that is not imported yet.
        action: A function.
    """
    _finder.actions[module] = action
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
