"""The clock of a store, from the header ``Date`` of its answers."""

import time
from typing import Final

# The header has whole seconds.
_EXACT_S: Final = 2.0


def skew_s(date: str | None) -> float | None:
    """Return by how many seconds the clock of `date`, a header (RFC 9110, section 6.6.1), is ahead of this machine's.

    Returns:
        None if there is no such header, or it is malformed.
    """
    if not date:
        return None
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except ValueError:
        return None


def clock_fact(ahead_s: float | None) -> str:
    """Return what the difference between a server's clock and this machine's means.

    Args:
        ahead_s: By how many seconds the server's clock is ahead; None if it sent no date.
    """
    if ahead_s is None:
        return "its clock is unknown"
    if abs(ahead_s) < _EXACT_S:
        return "its clock agrees with this machine's"
    return f"its clock is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} this machine's"
