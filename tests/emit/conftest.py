"""Fixtures of the tests of the logging library."""

from lines_support import lines

__all__ = ["lines"]
