"""Silero's voice detector, loaded before the call."""

from typing import Final

import numpy as np
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADAnalyzer, VADParams, VADState

# Samples that the model takes at once, by the rate of the audio, as in SileroVADAnalyzer.num_frames_required.
FRAMES: Final = {8_000: 256, 16_000: 512}

# Loaded with the bot file. Each forked process has a copy, for its one call.
_PREPARED: Final = [SileroVADAnalyzer()]


class PreparedSileroAnalyzer(VADAnalyzer):  # type: ignore[misc]  # Pipecat has no type hints
    """Detects speech as `SileroVADAnalyzer` does.

    Loading the model takes 40 to 60 ms of processor time, by which the greeting would be late. The first analyzer of
    a process takes the model that was loaded with this module, and analyzes audio at once: the model takes less than
    a millisecond, and to pass audio to a thread and back takes 0.2 ms of processor time, 50 times a second. Further
    ones, as in Pipecat's own runner, load the model with their first audio, and analyze in a thread of their own, as
    the base class does: a process with many calls needs more than one processor.

    Args:
        params: When speech starts and stops.
    """

    def __init__(self, params: VADParams) -> None:
        super().__init__(params=params)
        self._silero: SileroVADAnalyzer | None = _PREPARED.pop() if _PREPARED else None
        self._needs_thread = self._silero is None

    async def analyze_audio(self, buffer: bytes) -> VADState:
        """Return whether somebody speaks, after the audio in `buffer`."""
        if self._needs_thread:
            return await super().analyze_audio(buffer)
        return self._run_analyzer(buffer)

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
