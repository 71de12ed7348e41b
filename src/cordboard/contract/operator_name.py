"""The name of an operator among the consumers of the launch queue; its suffix says what it can start.

Gateways read from it which bots can have cold runners, and how many. A separate key in Redis could
outlive the operator; the name disappears with the consumer.
"""

from collections.abc import Collection
from typing import Final

# The beginning of the suffix. Operator ids contain no slash.
_COLD: Final = "/cold="
# Instead of the names of bots: the operator runs any bot. Bot names contain no asterisk.
_ALL: Final = "*"


def cold_suffix(max_runners: int, bots: Collection[str] | None) -> str:
    """Return the suffix of the name of an operator that starts cold runners.

    Args:
        max_runners: The maximum number of cold runners at a time.
        bots: The names of the bots that they run; None if they run any bot.
    """
    return f"{_COLD}{max_runners}:{_ALL if bots is None else ','.join(sorted(bots))}"


def plain_name(operator: str) -> str:
    """Return the name of the operator named ``operator`` without what it can start."""
    return operator.partition(_COLD)[0]


def can_start_cold(operator: str, bot: str) -> bool:
    """Return whether the operator named ``operator`` can start a cold runner for ``bot``."""
    bots = operator.partition(_COLD)[2].partition(":")[2].split(",")
    return bot in bots or _ALL in bots


def max_cold_runners(operator: str) -> int:
    """Return the maximum number of cold runners of the operator named ``operator``."""
    count = operator.partition(_COLD)[2].partition(":")[0]
    return int(count) if count.isdecimal() else 0
