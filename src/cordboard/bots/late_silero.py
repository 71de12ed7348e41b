"""Silero's voice detector, loaded while the bot already speaks."""

import numpy as np
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADAnalyzer, VADParams

# Samples that the model takes at once, by the rate of the audio, as in SileroVADAnalyzer.num_frames_required.
FRAMES = {8_000: 256, 16_000: 512}


class LateSileroAnalyzer(VADAnalyzer):  # type: ignore[misc]  # Pipecat has no type hints
    """Detects speech as `SileroVADAnalyzer` does.

    Loading the model takes 60 ms of processor time, by which the greeting would be late. The base class analyzes
    audio in a thread of its own; the model is loaded there, with the first audio.

    Args:
        params: When speech starts and stops.
    """

    def __init__(self, params: VADParams) -> None:
        super().__init__(params=params)
        self._silero: SileroVADAnalyzer | None = None

    def num_frames_required(self) -> int:
        """Return how many samples the model takes at once."""
        return FRAMES[self.sample_rate]

    def voice_confidence(self, buffer: bytes) -> float:
        """Return how sure the model is that `buffer` is speech, from 0 to 1."""
        if self._silero is None:
            self._silero = SileroVADAnalyzer(sample_rate=self.sample_rate, params=self.params)
            self._silero.set_sample_rate(self.sample_rate)
        # The model answers with an array of one value.
        return float(np.asarray(self._silero.voice_confidence(buffer)).item())
