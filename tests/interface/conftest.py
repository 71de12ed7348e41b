"""Fixtures of the interface's tests."""

from interface.interface_support import site

__all__ = ["site"]
