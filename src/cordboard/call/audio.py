"""The sound of a call: the speech to send, and the detection of the bot's sound.

All samples are 48 kHz, mono, 16 bit, in frames of 20 ms. WebRTC's Opus carries this format, so nothing is
resampled on the way.
"""

import asyncio
import time
from array import array
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import av.error
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from cordboard.call.heard import HeardTurns, Span
from cordboard.call.recording import RATE, TimedRecording
from cordboard.contract.errors import UsageError

FRAME: Final = RATE // 50  # samples of 20 ms
FRAME_S: Final = FRAME / RATE
# Amplitude of 32767 from which a frame counts as sound (-36 dBFS). Encoded silence stays below 10.
SOUND_PEAK_MIN: Final = 500
# Seconds of silence after which a speaker has finished. Pauses between words are shorter.
PAUSE_S: Final = 0.8
# The longest speech. Its samples are kept in memory: 29 MB for 5 minutes.
SPEECH_MAX_S: Final = 300

# How far sending may lag behind before silence is left out instead of sent in a burst.
BEHIND_MAX_S: Final = 0.2

_SILENCE: Final = bytes(2 * FRAME)


def read_speech(path: Path) -> bytes:
    """Return the samples of a sound file, without the silence at its end.

    The bot's reply is measured from the end of the speech, so silence there would count as the bot's.

    Args:
        path: A file in any format that FFmpeg reads.

    Raises:
        UsageError: The file cannot be read, is not a sound file, is silent or too long.
    """
    try:
        samples = _decode(path)
    except OSError as error:
        raise UsageError(
            f"--say {path}: {error.strerror or error}.", hint="Name a sound file that you can read."
        ) from error
    except (av.error.FFmpegError, ValueError, IndexError) as error:
        raise UsageError(
            f"--say {path} is not a readable sound file: "
            f"{getattr(error, 'strerror', None) or error}.",
            hint="Use a WAV file of any rate, such as examples/hello.wav.",
        ) from error
    spoken = _trimmed(samples)
    if not spoken:
        raise UsageError(f"--say {path} is silent: the bot would hear nothing.")
    if len(spoken) > 2 * RATE * SPEECH_MAX_S:
        raise UsageError(f"--say {path} is longer than {SPEECH_MAX_S} s.")
    return spoken


def _decode(path: Path) -> bytes:
    path.open("rb").close()  # PyAV's error would not name the system's reason
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    decoded = bytearray()
    with av.open(str(path)) as container:
        for frame in container.decode(container.streams.audio[0]):
            for part in resampler.resample(frame):
                decoded += _mono(part)
            if len(decoded) > 2 * RATE * (SPEECH_MAX_S + 60):  # silence at its end may be cut
                break
        for part in resampler.resample(None):
            decoded += _mono(part)
    return bytes(decoded)


def _trimmed(samples: bytes) -> bytes:
    # Frame by frame from the end: only the silence has to be read.
    end = len(samples)
    while end > 0 and peak_amplitude(samples[max(0, end - len(_SILENCE)) : end]) < SOUND_PEAK_MIN:
        end -= len(_SILENCE)
    return samples[: max(0, end)]


def _mono(frame: Any) -> bytes:
    """Return the first channel of a packed 16-bit frame; planes may be padded at their end."""
    channels = len(frame.layout.channels)
    packed = memoryview(bytes(frame.planes[0]))[: 2 * channels * frame.samples].cast("h")
    return packed[::channels].tobytes()


def peak_amplitude(samples: bytes) -> int:
    """Return the largest amplitude of ``samples``, 0 to 32768."""
    values = array("h", samples)
    return max(map(abs, (max(values), min(values)))) if values else 0


def _voiced_span(samples: bytes, began: float) -> Span:
    """Return the times of the first and of the last loud sample of a frame that has one.

    Args:
        samples: The frame.
        began: The time of its first sample, in seconds.
    """
    values = array("h", samples)
    first = next(at for at, value in enumerate(values) if abs(value) >= SOUND_PEAK_MIN)
    last = next(at for at in reversed(range(len(values))) if abs(values[at]) >= SOUND_PEAK_MIN)
    return began + first / RATE, began + last / RATE


class Microphone(MediaStreamTrack):  # type: ignore[misc]  # aiortc comes without types
    """The sound that the call sends: silence, and speech after ``speak``.

    It outlives the connections that send it. Each of them gets a track of its own, because aiortc stops the track of
    a connection that ends.

    Args:
        turns: Hears each frame as it is sent; None for nobody.

    Attributes:
        spoken_at: When the last frame of the speech was sent, by the monotonic clock; None before.
        level: The highest amplitude of the last frame, 0 to 32768.
    """

    kind = "audio"

    def __init__(self, turns: HeardTurns | None = None) -> None:
        super().__init__()
        self._turns = turns
        self.spoken_at: float | None = None
        self.level = 0
        self._speech = memoryview(b"")
        self._sent = 0
        self._began = 0.0

    def speak(self, samples: bytes) -> None:
        """Send ``samples``, beginning with the next frame."""
        self.spoken_at = None
        self._speech = memoryview(samples)

    async def recv(self) -> Any:
        """Return the next frame at the time when it is due."""
        if self.readyState != "live":
            raise MediaStreamError
        await self._pace()
        samples = self._next()
        if self._turns is not None:
            # A frame is sent when its last sample has been spoken. Lateness of this machine is not the speaker's.
            until = self._began + self._sent * FRAME_S
            is_loud = self.level >= SOUND_PEAK_MIN
            span = _voiced_span(samples, until - FRAME_S) if is_loud else None
            self._turns.hear_user(until, span)
        frame = av.AudioFrame(format="s16", layout="mono", samples=FRAME)
        frame.planes[0].update(samples)
        frame.sample_rate = RATE
        frame.time_base = Fraction(1, RATE)
        frame.pts = self._sent * FRAME
        self._sent += 1
        return frame

    async def _pace(self) -> None:
        if not self._sent:
            self._began = time.monotonic()
        # From the first frame's time, not from the last one's: delays do not add up.
        wait_s = self._began + self._sent * FRAME_S - time.monotonic()
        if wait_s < -BEHIND_MAX_S:
            # Nobody has sent for a while. What is over is over, as with a person's voice.
            self._sent += int(-wait_s / FRAME_S)
            wait_s = 0.0
        await asyncio.sleep(max(0.0, wait_s))

    def _next(self) -> bytes:
        if not self._speech:
            self.level = 0
            return _SILENCE
        # The last part may be shorter than a frame; zeros fill it.
        part, self._speech = self._speech[: 2 * FRAME], self._speech[2 * FRAME :]
        if not self._speech:
            self.spoken_at = time.monotonic()
        self.level = peak_amplitude(part.tobytes())
        return part.tobytes().ljust(2 * FRAME, b"\0")


class MicrophoneTrack(MediaStreamTrack):  # type: ignore[misc]  # aiortc comes without types
    """The track of one connection, which sends the microphone's sound until the connection ends.

    Args:
        microphone: The sound.
    """

    kind = "audio"

    def __init__(self, microphone: Microphone) -> None:
        super().__init__()
        self._microphone = microphone

    async def recv(self) -> Any:
        """Return the microphone's next frame."""
        if self.readyState != "live":
            raise MediaStreamError
        return await self._microphone.recv()


class SoundDetector:
    """Detects in the bot's track when sound begins and when it was last present.

    Args:
        recording: Records every frame; None for no recording.
        turns: Hears every frame as well; None for nobody.

    Attributes:
        onsets: The times at which sound began after a pause, by the monotonic clock.
        level: The highest amplitude of the last frame, 0 to 32768.
    """

    def __init__(
        self, recording: TimedRecording | None = None, turns: HeardTurns | None = None
    ) -> None:
        self.onsets: list[float] = []
        self.level = 0
        self._last_loud = float("-inf")
        self._recording = recording
        self._turns = turns

    def add_frame(self, frame: Any, source: object = None) -> None:
        """Process ``frame``, the next one of the track ``source``."""
        samples, now = _mono(frame), time.monotonic()
        if self._recording:
            position = round(frame.pts * frame.time_base * RATE)
            self._recording.add(source, position, samples, now)
        self.add_samples(samples, now)

    def add_samples(self, samples: bytes, now: float) -> None:
        """Process ``samples`` that arrived at ``now``, a monotonic time in seconds."""
        self.level = peak_amplitude(samples)
        is_loud = self.level >= SOUND_PEAK_MIN
        if self._turns is not None:
            # A loudspeaker would begin with the frame's first sample now.
            until = now + len(samples) / 2 / RATE
            self._turns.hear_bot(until, _voiced_span(samples, now) if is_loud else None)
        if not is_loud:
            return
        # Sound after a pause is a new utterance; after less, it is the same one.
        if now - self._last_loud >= PAUSE_S:
            self.onsets.append(now)
        self._last_loud = now

    def onset_after(self, since: float) -> float | None:
        """Return when sound first began after ``since``; None if it did not."""
        return next((onset for onset in self.onsets if onset > since), None)

    def loud_after(self, since: float) -> float | None:
        """Return when sound was last present, if that is after ``since``; else None."""
        return self._last_loud if self._last_loud > since else None

    def is_quiet(self, now: float) -> bool:
        """Return whether the speaker has finished: the last sound is at least a pause before ``now``."""
        return now - self._last_loud >= PAUSE_S
