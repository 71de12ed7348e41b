"""Run something right after a module has been imported for the first time."""

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final


class _Watcher:
    """A finder that finds nothing itself, but wraps the loader of the modules it waits for."""

    def __init__(self) -> None:
        self.waiting: dict[str, Callable[[], None]] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        action = self.waiting.pop(fullname, None)
        if action is None:
            return None
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Then(spec.loader, action)
                return spec
        self.waiting[fullname] = action  # not installed, or not yet
        return None


class _Then(Loader):
    """Loads as the loader it replaces, puts that back, and runs the action."""

    def __init__(self, loader: Loader, action: Callable[[], None]) -> None:
        self._loader = loader
        self._action = action

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._action()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


_watcher: Final = _Watcher()


def run_after_import(module: str, action: Callable[[], None]) -> None:
    """Run ``action`` once, as soon as ``module`` has been imported."""
    _watcher.waiting[module] = action
    if _watcher not in sys.meta_path:
        sys.meta_path.insert(0, _watcher)
