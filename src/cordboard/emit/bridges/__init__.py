"""Bridges from standard logging, loguru and structlog to the pipeline, with the current context.

A library that is already imported is bridged at once, another one when it is imported: a program
does not pay for a library that it does not use.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Final

from cordboard.context.import_hooks import run_after_import
from cordboard.contract.record import LEVELS
from cordboard.emit.bridges import standard
from cordboard.emit.pipeline import pipeline

_OPTIONAL: Final = {
    "loguru": "cordboard.emit.bridges.loguru_bridge",
    "structlog": "cordboard.emit.bridges.structlog_bridge",
}


def install() -> None:
    """Bridge every logging library of this program; each call applies the current level."""
    standard.install(pipeline.threshold)
    for library, bridge in _OPTIONAL.items():
        installer = _installer(bridge)
        if library in sys.modules:
            installer()
        else:
            run_after_import(library, installer)


def _installer(bridge: str) -> Callable[[], None]:
    def run() -> None:
        try:
            import_module(bridge).install(_lowest())
        except Exception as failure:  # the library then works as it does without a bridge
            pipeline.log_failure(failure)

    return run


def _lowest() -> int:
    """Return the lowest number of a level that is needed: a number below DEBUG becomes debug."""
    return 0 if pipeline.threshold <= LEVELS["debug"] else pipeline.threshold
