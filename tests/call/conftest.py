"""Fixtures of this room."""

from call.call_support import place

__all__ = ["place"]
