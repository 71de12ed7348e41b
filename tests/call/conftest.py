"""Fixtures of this room."""

from call.call_support import place, word

__all__ = ["place", "word"]
