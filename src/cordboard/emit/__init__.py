"""Saying it: the logging library. One JSON object per line, with the session of the moment.

``configure(service="gateway")`` once per process, ``log = get_logger("store")`` per module.
"""

from typing import TYPE_CHECKING, Any

from cordboard.context import Context, bind_process
from cordboard.context import bound as session_context
from cordboard.context import current as current_session

if TYPE_CHECKING:
    from cordboard.emit.forwarding import forward, forward_line, raw
    from cordboard.emit.logger import Logger, get_logger
    from cordboard.emit.setup import capture, configure, flush, quiesce, shutdown

__all__ = [
    "Context",
    "Logger",
    "bind_process",
    "capture",
    "configure",
    "current_session",
    "flush",
    "forward",
    "forward_line",
    "get_logger",
    "quiesce",
    "raw",
    "session_context",
    "shutdown",
]

_HOMES = {
    "Logger": "logger",
    "get_logger": "logger",
    "forward": "forwarding",
    "forward_line": "forwarding",
    "raw": "forwarding",
}


def __getattr__(name: str) -> Any:
    """Import the machinery (msgspec, 30 ms) when the first name of it is used."""
    if name not in __all__:
        raise AttributeError(f"module 'cordboard.emit' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"cordboard.emit.{_HOMES.get(name, 'setup')}"), name)
    globals()[name] = value
    return value
