"""Silero's voice detector, loaded before the call."""

from typing import Final

import numpy as np
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADAnalyzer, VADParams

# Samples that the model takes at once, by the rate of the audio, as in SileroVADAnalyzer.num_frames_required.
FRAMES: Final = {8_000: 256, 16_000: 512}

# Loaded with the bot file. Each forked process has a copy, for its one call.
_PREPARED: Final = [SileroVADAnalyzer()]


class PreparedSileroAnalyzer(VADAnalyzer):  # type: ignore[misc]  # Pipecat has no type hints
    """Detects speech as `SileroVADAnalyzer` does.

    Loading the model takes 40 to 60 ms of processor time, by which the greeting would be late. The first analyzer of
    a process takes the model that was loaded with this module. Further ones, as in Pipecat's own runner, load it with
    their first audio: the base class analyzes audio in a thread of its own.

    Args:
        params: When speech starts and stops.
    """

    def __init__(self, params: VADParams) -> None:
        super().__init__(params=params)
        self._silero: SileroVADAnalyzer | None = _PREPARED.pop() if _PREPARED else None

    def num_frames_required(self) -> int:
        """Return how many samples the model takes at once."""
        return FRAMES[self.sample_rate]

    def voice_confidence(self, buffer: bytes) -> float:
        """Return how sure the model is that `buffer` is speech, from 0 to 1."""
        if self._silero is None:
            self._silero = SileroVADAnalyzer()
        if self._silero.sample_rate != self.sample_rate:
            self._silero.set_sample_rate(self.sample_rate)
        # The model answers with an array of one value.
        return float(np.asarray(self._silero.voice_confidence(buffer)).item())
