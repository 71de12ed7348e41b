"""The memory limit of a bot process."""

import contextlib
import re
import resource
from pathlib import Path
from typing import Final

# Memory that must be free below the limit at the fork. Until ``bot()`` is entered, less than 1 MB is
# used (measured with the built-in bot, whose imports take 172 MB). With less headroom a bot could not
# even report that its memory is exhausted.
HEADROOM_MB: Final = 32

_VM_DATA: Final = re.compile(rb"^VmData:\s+(\d+) kB", re.MULTILINE)


class MemoryLimitError(Exception):
    """The process uses more memory than the limit before the bot runs."""


def check_memory(used_mb: int, limit_mb: int) -> None:
    """Check that a bot process has headroom below its limit when it starts.

    Args:
        used_mb: The memory that it has from the start, in megabytes.
        limit_mb: The limit, in megabytes.

    Raises:
        MemoryLimitError: It has none.
    """
    if used_mb + HEADROOM_MB > limit_mb:
        raise MemoryLimitError(
            f"The bot file uses {used_mb} MB once it is loaded; {describe_memory_limit(limit_mb)}. "
            "Raise the limit, or load less at import."
        )


def limit_memory(limit_mb: int) -> None:
    """Limit the memory of this process to `limit_mb` megabytes, so that a bot that leaks fails alone.

    Raises:
        MemoryLimitError: The memory of the bot file leaves no headroom below the limit.
    """
    check_memory(used_memory_mb(), limit_mb)
    limit_bytes = limit_mb * 1024 * 1024
    # A hard limit that is lower already stays; raising it is not permitted.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))


def describe_memory_limit(limit_mb: int) -> str:
    """Return a clause that names the limit of `limit_mb` megabytes and its setting."""
    return f"the limit of one bot process (CORDBOARD_BOT_MEMORY_MB) is {limit_mb} MB"


def used_memory_mb() -> int:
    """Return the memory of this process that counts against the limit, or 0 if it is unknown."""
    with contextlib.suppress(OSError):
        match = _VM_DATA.search(Path("/proc/self/status").read_bytes())
        return int(match[1]) // 1024 if match else 0
    return 0
