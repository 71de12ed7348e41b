"""Report the errors of a bot process that occur outside ``bot()`` to the supervisor."""

import contextlib
import socket
import traceback
from typing import Final

from cordboard.contract.errors import BotFileError
from cordboard.contract.redaction import redact_keys
from cordboard.runner import pipes
from cordboard.runner.memory_limit import MemoryLimitError, describe_memory_limit

# The length of a detail in the session record; the supervisor cuts longer ones as well.
DETAIL_CHARS: Final = 500

# A supervisor that does not read for so long is frozen, and this process must exit.
_SEND_S: Final = 1.0


class StartupErrorReporter:
    """Reports why this process ends before its bot ran.

    Args:
        control: The control channel to the supervisor.
        memory_mb: The memory limit of this process.
    """

    def __init__(self, control: socket.socket, memory_mb: int) -> None:
        self._control = control
        self._limit = describe_memory_limit(memory_mb)
        # Encoded now: once memory is exhausted, encoding fails as well.
        self._out_of_memory = _end_message(
            f"The bot process ran out of memory; {self._limit}.", is_out_of_memory=True
        )

    def report(self, error: BaseException) -> None:
        """Report `error` to the supervisor, and print its traceback on standard error."""
        with contextlib.suppress(BaseException):
            self._control.settimeout(_SEND_S)
            self._control.sendall(self._message(error))
        if isinstance(error, MemoryLimitError):  # its message is complete, a traceback adds nothing
            return
        with contextlib.suppress(BaseException):
            traceback.print_exception(error)

    def _message(self, error: BaseException) -> bytes:
        if isinstance(error, MemoryError):
            return self._out_of_memory
        if isinstance(error, MemoryLimitError):
            return _end_message(str(error), is_out_of_memory=True)
        if isinstance(error, BotFileError):
            is_memory = isinstance(error.__cause__, MemoryError)
            clause = f" ({self._limit})" if is_memory else ""
            detail = redact_keys(error.message)[:DETAIL_CHARS] + clause
            return _end_message(detail, is_out_of_memory=is_memory)
        return _end_message(redact_keys(f"The bot process failed: {type(error).__name__}: {error}"))


def _end_message(detail: str, *, is_out_of_memory: bool = False) -> bytes:
    facts = {"out_of_memory": True} if is_out_of_memory else {}
    message = {"ended": "bot_crashed", "detail": detail[:DETAIL_CHARS], "early": True, **facts}
    return pipes.encode(message)
