"""Fault points: places at which tests kill or stop this process. In production they do nothing.

``point("assign.after")`` marks a place where a crash would leave an operation half done. A test arms
points with ``CORDBOARD_FAULTS``: ``NAME=kill`` or ``NAME=stop``, with ``@N`` for the N-th passage (the
first by default), separated by commas. A point that is not armed costs one test of an empty dictionary.
"""

import os
from typing import Final

from cordboard.contract.errors import SettingsError

_SIGNALS: Final = {"kill": "SIGKILL", "stop": "SIGSTOP"}
_armed: Final[dict[str, tuple[int, int]]] = {}
_passed: Final[dict[str, int]] = {}


def arm(points: str) -> None:
    """Arm fault points, and disarm all others.

    Args:
        points: A list of ``NAME=ACTION[@N]``, as in ``CORDBOARD_FAULTS``.

    Raises:
        SettingsError: The list is invalid.
    """
    _armed.clear()
    _passed.clear()
    if not points:
        return
    import signal

    for entry in filter(None, points.split(",")):
        name, _, action_at = entry.partition("=")
        action, _, number = action_at.partition("@")
        if action not in _SIGNALS or not (number or "1").isdigit():
            raise SettingsError(f"CORDBOARD_FAULTS: expected NAME=kill|stop[@N], got {entry!r}.")
        _armed[name] = (getattr(signal, _SIGNALS[action]), int(number or 1))


def point(name: str) -> None:
    """Pass the fault point ``name``: send the signal to this process if the point is armed."""
    if _armed and name in _armed:
        _passed[name] = _passed.get(name, 0) + 1
        number, at = _armed[name]
        if _passed[name] == at:
            os.kill(os.getpid(), number)
