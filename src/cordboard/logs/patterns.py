"""Regular expressions that are compiled when they are first used.

Most queries meet lines in our own form alone; compiling what the others need would take a query of one
session a tenth of its time.
"""

import re
from typing import Any, AnyStr, cast


class _Pattern:
    """Stands for a compiled pattern; its methods become attributes as they are asked for."""

    def __init__(self, text: Any, flags: int) -> None:
        self._source = (text, flags)

    def __getattr__(self, name: str) -> Any:
        """Compile, and keep what was asked for."""
        found = getattr(re.compile(*self._source), name)
        setattr(self, name, found)
        return found


def pattern(text: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """Return what is used as ``re.compile(text, flags)`` would be; `text` and `flags` are compiled at the first use."""
    return cast("re.Pattern[AnyStr]", _Pattern(text, flags))
