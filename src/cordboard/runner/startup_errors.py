"""What can go wrong in a bot's process outside of ``bot()``, reported to the supervisor."""

import contextlib
import re
import resource
import socket
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cordboard.contract.redaction import redact_keys
from cordboard.runner import pipes

HEADROOM_MB: Final = 32
"""What must be free at the fork. Until ``bot()`` is entered under 1 MB was taken (measured, the
built-in bot's imports, 172 MB); with less than this no bot would say a word."""

_SEND_S: Final = 1.0
_DATA: Final = re.compile(rb"^VmData:\s+(\d+) kB", re.MULTILINE)


class TooLargeError(Exception):
    """The process uses more memory than the limit before the bot runs."""


def limit_memory(most_mb: int) -> None:
    """Limit the memory of this process, so that a bot that leaks fails alone.

    Raises:
        TooLargeError: The memory of the bot file leaves no room below the limit.
    """
    held_mb = data_mb()
    if held_mb + HEADROOM_MB > most_mb:
        raise TooLargeError(
            f"The bot file takes {held_mb} MB when it is loaded; {limit_in_words(most_mb)}. "
            "Raise the limit, or load less at import."
        )
    most = most_mb * 1024 * 1024
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def limit_in_words(most_mb: int) -> str:
    """Return the limit and its setting, as a part of a sentence."""
    return f"the limit of one bot's process (CORDBOARD_BOT_MEMORY_MB) is {most_mb} MB"


def data_mb() -> int:
    """Return what counts against the limit of this process; 0 if the kernel does not say."""
    with contextlib.suppress(OSError):
        found = _DATA.search(Path("/proc/self/status").read_bytes())
        return int(found[1]) // 1024 if found else 0
    return 0


@dataclass(slots=True)
class StartupErrorReporter:
    """Tells the supervisor why this process ends before its bot; prepared while there is memory.

    Attributes:
        control: The line to the supervisor.
        memory_mb: The limit.
    """

    control: socket.socket
    memory_mb: int
    _no_memory: bytes = field(init=False)

    def __post_init__(self) -> None:
        """Prepare what cannot be made without memory."""
        self._no_memory = _ended(
            f"There was no memory left for the bot's process; {limit_in_words(self.memory_mb)}."
        )

    def tell(self, error: BaseException) -> None:
        """Say why, to the supervisor and on standard error."""
        with contextlib.suppress(BaseException):
            self.control.settimeout(_SEND_S)
            self.control.sendall(self._words(error))
        if isinstance(error, TooLargeError):  # its text is complete
            return
        with contextlib.suppress(BaseException):
            traceback.print_exception(error)

    def _words(self, error: BaseException) -> bytes:
        if isinstance(error, MemoryError):
            return self._no_memory
        if isinstance(error, TooLargeError):
            return _ended(str(error))
        return _ended(redact_keys(f"The bot's process failed: {type(error).__name__}: {error}"))


def _ended(detail: str) -> bytes:
    return pipes.encode({"ended": "bot_crashed", "detail": detail[:500], "early": True})
