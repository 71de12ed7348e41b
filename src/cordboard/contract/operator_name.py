"""An operator's name among the readers of the launch queue; its end says what it can start.

Other parts learn from it which bots have a cold start, and how many cold runners there may be, without
a key of its own that could outlive the operator.
"""

from collections.abc import Collection
from typing import Final

_COLD: Final = "/cold="
_ALL: Final = "*"


def cold_suffix(most: int, bots: Collection[str] | None) -> str:
    """Return the end of the name of an operator that starts cold runners.

    Args:
        most: How many may run at once.
        bots: The bots that they have; None if all are possible.
    """
    return f"{_COLD}{most}:{_ALL if bots is None else ','.join(sorted(bots))}"


def can_start_cold(operator: str, bot: str) -> bool:
    """Return whether the operator of this name can start a cold runner for a bot."""
    bots = operator.partition(_COLD)[2].partition(":")[2].split(",")
    return bot in bots or _ALL in bots


def max_cold_runners(operator: str) -> int:
    """Return how many cold runners the operator of this name may have at once."""
    most = operator.partition(_COLD)[2].partition(":")[0]
    return int(most) if most.isdecimal() else 0
