"""Fixtures of the tests with a TURN server."""

from ice.ice_support import certificate, turn

__all__ = ["certificate", "turn"]
