"""What a caller hears: sound on a time line, and the silences in it."""

import io
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

WINDOW_S = 0.01
# Of the loudness of the tone. Concealed losses fade within some 100 ms, and noise is far below.
LOUD_SHARE = 0.1
# A pause between two parts of the sound: shorter ones are those of a busy machine, and no interruption.
PAUSE_MIN_S = 0.06
# Quieter recordings hold no tone at all.
FLOOR = 0.005
Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sound:
    """Recorded sound, from -1 to 1."""

    samples: Samples
    rate_hz: int

    def silences(self) -> list[tuple[float, float]]:
        """Return beginning and length, in seconds, of each silence between the first sound and the last."""
        loud = self._loud()
        gaps = np.diff(loud) - 1
        return [
            (float(loud[at] + 1) * WINDOW_S, float(gaps[at]) * WINDOW_S)
            for at in np.flatnonzero(gaps * WINDOW_S >= PAUSE_MIN_S)
        ]

    def _loud(self) -> npt.NDArray[np.intp]:
        """Return the numbers of the windows that are not silent."""
        window = int(self.rate_hz * WINDOW_S)
        parts = self.samples[: len(self.samples) // window * window].reshape(-1, window)
        loudness = np.sqrt((parts.astype(np.float64) ** 2).mean(axis=1))
        if not len(loudness) or loudness.max() < FLOOR:
            return np.zeros(0, np.intp)
        return np.flatnonzero(loudness >= loudness.max() * LOUD_SHARE)

    def span_s(self) -> float:
        """Return the time from the first sound to the last, in seconds."""
        loud = self._loud()
        return float(loud[-1] - loud[0]) * WINDOW_S if len(loud) else 0.0

    def longest_silence_s(self) -> float:
        """Return the length of the longest silence between the first sound and the last, in seconds."""
        return max((length for _, length in self.silences()), default=0.0)


def from_wav(path: Path) -> Sound:
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        return Sound(_scaled(samples), file.getframerate())


def from_container(data: bytes, rate_hz: int = 16_000) -> Sound:
    """Decode what a browser has recorded; its times, not its frames, say when a sound was heard."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=rate_hz)
    samples = np.zeros(0, np.float32)
    with av.open(io.BytesIO(data)) as container:
        for frame in container.decode(audio=0):
            at = round(float(frame.time or 0) * rate_hz)
            for part in resampler.resample(frame):
                more = _scaled(part.to_ndarray().reshape(-1))
                if at > len(samples):
                    samples = np.concatenate([samples, np.zeros(at - len(samples), np.float32)])
                samples = np.concatenate([samples, more])
    return Sound(samples, rate_hz)


def from_packets(packets: Sequence[tuple[float, bytes]], rate_hz: int = 8_000) -> Sound:
    """Return what a telephone plays: each packet when it arrives, or after those before it.

    Args:
        packets: Time of the arrival, and G.711 µ-law.
        rate_hz: Their sample rate.
    """
    if not packets:
        return Sound(np.zeros(0, np.float32), rate_hz)
    began = packets[0][0]
    playhead, placed = 0, []
    for at, payload in packets:
        start = max(round((at - began) * rate_hz), playhead)
        placed.append((start, payload))
        playhead = start + len(payload)
    samples = np.zeros(playhead, np.float32)
    for start, payload in placed:
        samples[start : start + len(payload)] = MU_LAW[np.frombuffer(payload, np.uint8)]
    return Sound(samples, rate_hz)


def _scaled(values: npt.NDArray[Any]) -> Samples:
    return (values / 32768).astype(np.float32, copy=False)


def _mu_law() -> Samples:
    """The table of ITU-T G.711."""
    code = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = (code >> 4) & 7, code & 15
    magnitude = ((mantissa.astype(np.int32) << 3) + 132 << exponent) - 132
    sign = np.where(code & 128, -1, 1)
    return _scaled(sign * magnitude)


MU_LAW = _mu_law()
