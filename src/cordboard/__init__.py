"""Cordboard: runs voice bots in rooms, and puts one session id on every line.

The names below are all that a user's own service needs; each is imported when it is first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cordboard.emit import configure, current_session, get_logger, session_context

__all__ = ["configure", "current_session", "get_logger", "session_context"]
# The only place of the version: the build reads it here, and `--version` needs no metadata of the
# installation, the look-up of which costs tens of milliseconds.
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    if name in __all__:
        from cordboard import emit

        return getattr(emit, name)
    raise AttributeError(f"module 'cordboard' has no attribute {name!r}")
