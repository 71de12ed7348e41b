"""What a caller hears: sound on a time line, and the silences in it."""

import io
import math
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from sound_support import LOUD_MIN, silences

Samples = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Sound:
    """Recorded sound."""

    samples: Samples
    rate_hz: int

    def longest_silence_s(self) -> float:
        """Return the length of the longest silence between the first sound and the last, in seconds."""
        found = silences(self.samples.tobytes(), self.rate_hz)
        return max((one.seconds for one in found if one.end_s < math.inf), default=0.0)

    def span_s(self) -> float:
        """Return the time from the first sound to the last, in seconds."""
        loud = np.flatnonzero(np.abs(self.samples.astype(np.int32)) >= LOUD_MIN)
        return float(loud[-1] - loud[0]) / self.rate_hz if len(loud) else 0.0


def from_wav(path: Path) -> Sound:
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        return Sound(samples, file.getframerate())


def from_container(data: bytes, rate_hz: int = 16_000) -> Sound:
    """Decode what a browser has recorded; its times, not its frames, say when a sound was heard."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=rate_hz)
    parts: list[Samples] = []
    length = 0
    with av.open(io.BytesIO(data)) as container:
        for frame in container.decode(audio=0):
            gap = round(float(frame.time or 0) * rate_hz) - length
            more = [part.to_ndarray().reshape(-1) for part in resampler.resample(frame)]
            for part in [np.zeros(max(gap, 0), np.int16), *more]:
                parts.append(part)
                length += len(part)
    return Sound(np.concatenate(parts) if parts else np.zeros(0, np.int16), rate_hz)


def from_packets(packets: Sequence[tuple[float, bytes]], rate_hz: int = 8_000) -> Sound:
    """Return what a telephone plays: each packet when it arrives, or after those before it.

    Args:
        packets: Time of the arrival, and G.711 µ-law.
        rate_hz: Their sample rate.
    """
    if not packets:
        return Sound(np.zeros(0, np.int16), rate_hz)
    began = packets[0][0]
    playhead, placed = 0, []
    for at, payload in packets:
        start = max(round((at - began) * rate_hz), playhead)
        placed.append((start, payload))
        playhead = start + len(payload)
    samples = np.zeros(playhead, np.int16)
    for start, payload in placed:
        samples[start : start + len(payload)] = MU_LAW[np.frombuffer(payload, np.uint8)]
    return Sound(samples, rate_hz)


def _mu_law() -> Samples:
    """Return the table of ITU-T G.711."""
    code = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = (code >> 4) & 7, code & 15
    magnitude = ((mantissa.astype(np.int32) << 3) + 132 << exponent) - 132
    return np.asarray(np.where(code & 128, -1, 1) * magnitude, np.int16)


MU_LAW = _mu_law()
