"""The room's fixtures."""

from lines_support import lines

__all__ = ["lines"]
