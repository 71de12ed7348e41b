"""The argument classes of Pipecat Cloud, subclasses of Pipecat's own, where ``pipecatcloud`` is installed.

A bot file made for Pipecat Cloud can test its argument with ``isinstance`` for either of the two.
"""

import functools
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Final, TypeVar

from pipecat.runner.types import (
    DailyRunnerArguments,
    RunnerArguments,
    SmallWebRTCRunnerArguments,
    WebSocketRunnerArguments,
)

from cordboard.emit import get_logger

MODULE: Final = "pipecatcloud.agent"

_SUBCLASSES: Final[dict[type[RunnerArguments], str]] = {
    RunnerArguments: "PipecatSessionArguments",
    DailyRunnerArguments: "DailySessionArguments",
    SmallWebRTCRunnerArguments: "SmallWebRTCSessionArguments",
    WebSocketRunnerArguments: "WebSocketSessionArguments",
}

_Arguments = TypeVar("_Arguments", bound=RunnerArguments)

log = get_logger("bot")


def argument_class(cls: type[_Arguments]) -> Callable[..., _Arguments]:
    """Return the subclass that Pipecat Cloud has of a class, or the class itself.

    Args:
        cls: One of Pipecat's argument classes.
    """
    subclass: Any = getattr(agent_module(), _SUBCLASSES.get(cls, ""), None)
    # Before pipecatcloud 0.2.5 these classes had nothing in common with Pipecat's.
    is_subclass = isinstance(subclass, type) and issubclass(subclass, cls)
    return subclass if is_subclass else cls


@functools.cache
def agent_module() -> ModuleType | None:
    """Import and return ``pipecatcloud.agent``; return None where it cannot be imported."""
    try:
        if find_spec(MODULE.partition(".")[0]) is None:
            return None
        return import_module(MODULE)
    except (
        AttributeError,
        ImportError,
        TypeError,
    ) as error:  # a broken package must not stop bots that do not use it
        log.warning("pipecatcloud cannot be imported; bots get Pipecat's own classes", error=error)
        return None
