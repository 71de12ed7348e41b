"""``readyz()`` in a bot file: whether the bot can take a new session, as on Pipecat Cloud.

The function runs in a process that is forked for each call, so that it can neither block nor break the runner.
Results are those that Pipecat Cloud's base image takes: a bool, or a dictionary with the key ``ready``
(https://docs.pipecat.ai/pipecat-cloud/fundamentals/health-checks).
"""

import asyncio
import contextlib
import inspect
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Final

from cordboard.contract.redaction import redact_keys

# The length of a reason in an answer and in the log.
REASON_CHARS: Final = 300

FUNCTION: Final = "readyz"


@dataclass(frozen=True, slots=True)
class Readiness:
    """A result of ``readyz()``.

    Attributes:
        is_ready: Whether the bot can take a new session.
        reason: Why not; empty if it can.
    """

    is_ready: bool
    reason: str = ""


class ReadyzError(Exception):
    """``readyz()`` raised an exception.

    Attributes:
        cause: The exception.
    """

    def __init__(self, cause: BaseException) -> None:
        super().__init__(cause)
        self.cause = cause


def readyz_of_bot() -> Callable[[], Any] | None:
    """Return ``readyz`` of the bot file that this process has imported; None if it has none."""
    function = getattr(sys.modules.get("__main__"), FUNCTION, None)
    return function if callable(function) else None


def readiness_of(result: Any) -> Readiness:
    """Return what a result of ``readyz()`` means."""
    if isinstance(result, bool):
        return Readiness(result, "" if result else f"{FUNCTION}() returned False")
    if not isinstance(result, dict):
        kind = type(result).__name__
        return _not_ready(f"{FUNCTION}() returned {kind}, expected a bool or a dictionary")
    if result.get("ready", False):
        return Readiness(is_ready=True)
    details = {key: value for key, value in result.items() if key != "ready"}
    return _not_ready(
        json.dumps(details, default=str) if details else f"{FUNCTION}() returned False"
    )


def send_readiness(connection: Connection, load: Callable[[], Any]) -> None:
    """Call ``readyz()`` in this process, and send the ``Readiness`` on `connection`.

    Args:
        connection: The connection to the runner.
        load: Imports the bot file unless that was done before the fork.
    """
    try:
        readiness = readiness_of(_result(load))
    except ReadyzError as error:
        readiness = _not_ready(f"{FUNCTION}() raised {type(error.cause).__name__}: {error.cause}")
    with contextlib.suppress(OSError):  # a runner that stops no longer listens
        connection.send(readiness)


def _result(load: Callable[[], Any]) -> Any:
    """Import the bot file with `load`, and return what its ``readyz()`` returns; True if it has none."""
    try:
        load()
        function = readyz_of_bot()
        result = True if function is None else function()
        return asyncio.run(_awaited(result)) if inspect.isawaitable(result) else result
    except (Exception, SystemExit) as error:
        raise ReadyzError(error) from error


async def _awaited(result: Any) -> Any:
    return await result


def _not_ready(reason: str) -> Readiness:
    return Readiness(is_ready=False, reason=redact_keys(reason)[:REASON_CHARS])
