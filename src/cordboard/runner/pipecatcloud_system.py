"""Provide ``pipecatcloud_system`` to bots that were written for Pipecat Cloud.

Its base image has a module of this name, whose ``app`` serves a bot's own routes
(docs.pipecat.ai, Pipecat Cloud, "Session API"). No package on PyPI does.
"""

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Final

_NAME: Final = "pipecatcloud_system"


class _SystemModule(MetaPathFinder, Loader):
    """Finds and makes the module."""

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of the module; None for the name `fullname` of any other."""
        return ModuleSpec(_NAME, self) if fullname == _NAME else None

    def exec_module(self, module: ModuleType) -> None:
        """Add the application to `module`."""
        # Here and not above: only bots that import the module need it.
        from fastapi import FastAPI

        vars(module)["app"] = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)


def provide_system_module() -> None:
    """Let ``import pipecatcloud_system`` succeed. A module of this name that is installed is used instead."""
    if not any(isinstance(finder, _SystemModule) for finder in sys.meta_path):
        sys.meta_path.append(_SystemModule())
