"""A person's voice and ears, as samples: what is said, what is heard, what is recorded.

All sound here is 48 kHz, mono, 16 bit, in frames of 20 ms: what WebRTC's Opus carries, so that
nothing is resampled on the way.
"""

import asyncio
import time
import wave
from array import array
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import av.error
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from cordboard.contract.errors import UsageError

RATE: Final = 48_000
FRAME: Final = RATE // 50
FRAME_S: Final = FRAME / RATE
LOUD: Final = 500
"""Peak, of 32767, from which a frame counts as sound (-36 dBFS); coded silence stays below 10."""
PAUSE_S: Final = 0.8
"""Silence after which someone has finished; pauses between words are shorter."""
SPEECH_MAX_S: Final = 300

_SILENCE: Final = bytes(2 * FRAME)


def read_speech(path: Path) -> bytes:
    """Return the samples of a sound file, without the silence at its end.

    The end of the speech is the moment from which the bot's answer is awaited.

    Raises:
        UsageError: It cannot be read, is no sound file, is silent or too long.
    """
    try:
        samples = _decode(path)
    except OSError as error:
        raise UsageError(
            f"--say {path}: {error.strerror or error}.", hint="Name a sound file that you may read."
        ) from error
    except (av.error.FFmpegError, ValueError, IndexError) as error:
        raise UsageError(
            f"--say {path} is no sound file that can be read: "
            f"{getattr(error, 'strerror', None) or error}.",
            hint="A wav file of any rate is wanted; examples/hello.wav is one.",
        ) from error
    spoken = _trimmed(samples)
    if not spoken:
        raise UsageError(f"--say {path} is silent: the bot would hear nothing.")
    if len(spoken) > 2 * RATE * SPEECH_MAX_S:
        raise UsageError(f"--say {path} is longer than {SPEECH_MAX_S} s.")
    return spoken


def _decode(path: Path) -> bytes:
    path.open("rb").close()  # the system's own words for what cannot be opened
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    found = bytearray()
    with av.open(str(path)) as container:
        for frame in container.decode(container.streams.audio[0]):
            for part in resampler.resample(frame):
                found += _mono(part)
            if len(found) > 2 * RATE * (SPEECH_MAX_S + 60):
                break
        for part in resampler.resample(None):
            found += _mono(part)
    return bytes(found)


def _trimmed(samples: bytes) -> bytes:
    end = len(samples)
    while end > 0 and peak(samples[max(0, end - len(_SILENCE)) : end]) < LOUD:
        end -= len(_SILENCE)
    return samples[: max(0, end)]


def _mono(frame: Any) -> bytes:
    """Return the first channel of a packed 16-bit frame; planes may be padded at their end."""
    channels = len(frame.layout.channels)
    packed = memoryview(bytes(frame.planes[0]))[: 2 * channels * frame.samples].cast("h")
    return packed[::channels].tobytes()


def peak(samples: bytes) -> int:
    """Return the largest amplitude, 0 to 32768."""
    values = array("h", samples)
    return max(map(abs, (max(values), min(values)))) if values else 0


class Microphone(MediaStreamTrack):  # type: ignore[misc]  # aiortc comes without types
    """The track that we send: silence, and the speech once ``say`` is called."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.spoken_at: float | None = None
        self._speech = memoryview(b"")
        self._sent = 0
        self._began = 0.0

    def say(self, samples: bytes) -> None:
        """Begin to speak with the next frame."""
        self.spoken_at = None
        self._speech = memoryview(samples)

    async def recv(self) -> Any:
        """Return the next frame, when its time has come."""
        if self.readyState != "live":
            raise MediaStreamError
        await self._pace()
        frame = av.AudioFrame(format="s16", layout="mono", samples=FRAME)
        frame.planes[0].update(self._next())
        frame.sample_rate = RATE
        frame.time_base = Fraction(1, RATE)
        frame.pts = self._sent * FRAME
        self._sent += 1
        return frame

    async def _pace(self) -> None:
        if not self._sent:
            self._began = time.monotonic()
        await asyncio.sleep(max(0.0, self._began + self._sent * FRAME_S - time.monotonic()))

    def _next(self) -> bytes:
        if not self._speech:
            return _SILENCE
        part, self._speech = self._speech[: 2 * FRAME], self._speech[2 * FRAME :]
        if not self._speech:
            self.spoken_at = time.monotonic()
        return part.tobytes().ljust(2 * FRAME, b"\0")


class Ear:
    """What was heard: when sound began, when it was last there.

    Args:
        recording: Gets every frame, where given.
    """

    def __init__(self, recording: "Recording | None" = None) -> None:
        self.onsets: list[float] = []
        self._last_loud = float("-inf")
        self._recording = recording

    def hear(self, frame: Any) -> None:
        """Take the next frame."""
        self.take(_mono(frame), time.monotonic())

    def take(self, samples: bytes, now: float) -> None:
        """Take samples heard at ``now``, a monotonic time in seconds."""
        if self._recording:
            self._recording.write(samples)
        if peak(samples) < LOUD:
            return
        if now - self._last_loud >= PAUSE_S:
            self.onsets.append(now)
        self._last_loud = now

    def onset_after(self, since: float) -> float | None:
        """Return when sound first began after ``since``."""
        return next((at for at in self.onsets if at > since), None)

    def loud_after(self, since: float) -> float | None:
        """Return when sound was last there, if that is after ``since``."""
        return self._last_loud if self._last_loud > since else None

    def quiet(self, now: float) -> bool:
        """Say whether the last sound was long enough ago for its speaker to have finished."""
        return now - self._last_loud >= PAUSE_S


class Recording:
    """A wav file that is whole at any moment, however the call ends.

    Raises:
        UsageError: The file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._frames = 0
        try:
            self._file = path.open("wb", buffering=0)
        except OSError as error:
            raise UsageError(
                f"--record {path} cannot be written: {error.strerror}.",
                hint="Name a file in a directory that is there and is yours.",
            ) from error
        self._wave = wave.open(self._file)  # noqa: SIM115 - closed by close()
        self._wave.setparams((1, 2, RATE, 0, "NONE", ""))

    @property
    def seconds(self) -> float:
        """How much has been written."""
        return self._frames / RATE

    def write(self, samples: bytes) -> None:
        """Append samples."""
        self._wave.writeframes(samples)
        self._frames += len(samples) // 2

    def close(self) -> None:
        """Close the file."""
        self._wave.close()
        self._file.close()
