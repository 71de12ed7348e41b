"""Standard logging, loguru and structlog -> the same pipeline, with the context of the moment.

A library that is imported already is bridged at once, another when it is imported: nobody pays for
a library that the program does not use.
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
    """Bridge every logging library of this program; called by ``configure``, also again."""
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
        except Exception as failure:  # noqa: BLE001 - the library works on, only unbridged
            pipeline.tell_failure(failure)

    return run


def _lowest() -> int:
    """Return the lowest number that loguru and structlog have to hand over: trace is debug to us."""
    return 0 if pipeline.threshold <= LEVELS["debug"] else pipeline.threshold
