"""Named points at which a test may end or freeze this process; in production they do nothing.

``point("assign.after")`` stands where the process could die with effects half done. A test arms
points by ``CORDBOARD_FAULTS``: ``NAME=kill`` or ``NAME=stop``, with ``@N`` for the N-th passage
(the first by default), several separated by commas. Nothing else reads that variable, and an unarmed point
costs one look into an empty dictionary.
"""

import os
from typing import Final

from cordboard.contract.errors import SettingsError

_SIGNALS: Final = {"kill": "SIGKILL", "stop": "SIGSTOP"}
_armed: Final[dict[str, tuple[int, int]]] = {}
_passed: Final[dict[str, int]] = {}


def arm(words: str) -> None:
    """Arm the named points; an empty text disarms all.

    Raises:
        SettingsError: The words are no list of ``NAME=ACTION[@N]``.
    """
    _armed.clear()
    _passed.clear()
    if not words:
        return
    import signal

    for word in filter(None, words.split(",")):
        name, _, what = word.partition("=")
        action, _, number = what.partition("@")
        if action not in _SIGNALS or not (number or "1").isdigit():
            raise SettingsError(f"CORDBOARD_FAULTS: expected NAME=kill|stop[@N], got {word!r}.")
        _armed[name] = (getattr(signal, _SIGNALS[action]), int(number or 1))


def point(name: str) -> None:
    """Pass a point; only an armed one does something."""
    if _armed and name in _armed:
        _passed[name] = _passed.get(name, 0) + 1
        number, at = _armed[name]
        if _passed[name] == at:
            os.kill(os.getpid(), number)
