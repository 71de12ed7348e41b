"""The logging library: one JSON object per line, each with the session that is bound at the time.

Call ``configure(service="gateway")`` once per process and ``log = get_logger("store")`` once per
module.
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

_MODULES = {
    "Logger": "logger",
    "get_logger": "logger",
    "forward": "forwarding",
    "forward_line": "forwarding",
    "raw": "forwarding",
}


def __getattr__(name: str) -> Any:
    """Import what `name` needs when it is first used: msgspec alone takes 30 ms."""
    if name not in __all__:
        raise AttributeError(f"module 'cordboard.emit' has no attribute {name!r}")
    from importlib import import_module

    # Always, as it is what configures a program that logs without ``configure``.
    setup = import_module("cordboard.emit.setup")
    module = import_module(f"cordboard.emit.{_MODULES[name]}") if name in _MODULES else setup
    value = getattr(module, name)
    globals()[name] = value
    return value
