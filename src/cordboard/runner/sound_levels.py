"""The level of the sound in a bot's pipeline, of one frame a second in each direction: more would cost the call."""

import sys
from typing import Any, Final

_FULL_SCALE: Final = 32768.0


class SoundLevels:
    """Measures one frame in each direction, whenever it is asked to.

    Attributes:
        wanted: The directions (``level_in``, ``level_out``) of which the next frame is measured.
    """

    def __init__(self) -> None:
        self.wanted: set[str] = set()
        self._levels: dict[str, float] = {}

    def take(self) -> dict[str, float]:
        """Return what was measured since the last call, and measure the next frames."""
        levels, self._levels = self._levels, {}
        self.wanted = {"level_in", "level_out"}
        return levels

    def measure(self, direction: str, samples: bytes) -> None:
        """Measure the highest amplitude of 16-bit samples, as a part of the full scale.

        Args:
            direction: ``level_in`` or ``level_out``.
            samples: The samples of one frame.
        """
        self.wanted.discard(direction)
        peak = _peak(samples)
        if peak is not None:
            self._levels[direction] = round(peak / _FULL_SCALE, 4)


def _peak(samples: bytes) -> int | None:
    """Return the highest amplitude; None if it is not known."""
    numpy: Any = sys.modules.get("numpy")  # every pipeline with sound has imported it
    if numpy is None:
        return None
    try:
        values = numpy.frombuffer(samples[: len(samples) // 2 * 2], dtype=numpy.int16)
    except (TypeError, ValueError):  # no samples; or a bot's frame holds something else
        return None
    return int(max(-int(values.min()), int(values.max()))) if len(values) else None


LEVELS: Final = SoundLevels()
"""The levels of this process's call."""
