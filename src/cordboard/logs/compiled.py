"""The parts that are in C, or None where nothing could compile them: `hatch_build.py` makes them.

Whoever asks them does the same in Python where they are not there, more slowly.
"""

try:
    from cordboard.logs import _lines as lines
except ImportError:
    lines = None  # type: ignore[assignment]

try:
    from cordboard.logs import _search as search
except ImportError:
    search = None  # type: ignore[assignment]

__all__ = ["are_here", "lines", "search"]


def are_here() -> bool:
    """Say whether all of them are there."""
    return bool(lines and search)
