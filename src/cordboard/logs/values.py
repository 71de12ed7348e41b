"""Values of ``meta``, which anybody may have written, as the types that their readers expect."""

import math
from typing import Any


def number(value: Any) -> float | None:
    """Return `value`, of ``meta``, as a number; None when it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None
