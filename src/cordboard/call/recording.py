"""The recording of a call: a WAV file that keeps time."""

import contextlib
import os
import struct
import wave
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cordboard.contract.errors import UsageError

RATE: Final = 48_000  # samples a second

# How much later than expected a frame may arrive and still belong where its timestamp says. aiortc's jitter buffer
# holds up to 16 packets of 20 ms while it waits for a lost one.
LATE_MAX: Final = RATE * 2 // 5
# How much earlier. Clocks differ by 0.18 s an hour (50 ppm); a timestamp that jumps ahead by more is no clock.
EARLY_MAX: Final = RATE
# For how long the frames after a break are kept before they are placed: as long as a burst of those that were held
# up takes, after which the last ones are on time.
PLACING: Final = RATE // 4

_CHUNK: Final = bytes(2 * RATE)
# The header that `wave` writes: the size of what follows it is in bytes 4 to 7, that of the samples in bytes 40 to 43.
_HEADER: Final = 44


class WavRecording:
    """A WAV file that is valid after each write, however the call ends.

    A write that fails ends the recording, and not the call.

    Args:
        path: The file, which is overwritten.

    Attributes:
        frames: How many samples were written.
        error: Why the file could not be written to its end; None while it can.

    Raises:
        UsageError: The file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.frames = 0
        self.error: OSError | None = None
        try:
            # Unbuffered: a call that is killed leaves all that it has recorded.
            self._file = path.open("wb", buffering=0)
        except OSError as error:
            raise UsageError(
                f"--record {path} cannot be written: {error.strerror}.",
                hint="Name a file in an existing directory that you can write to.",
            ) from error
        self._wave = wave.Wave_write(self._file)
        self._wave.setparams((1, 2, RATE, 0, "NONE", ""))

    @property
    def seconds(self) -> float:
        """The seconds of sound written so far."""
        return self.frames / RATE

    def write(self, samples: bytes) -> None:
        """Append ``samples``, unless a write has failed."""
        if self.error is not None:
            return
        try:
            self._wave.writeframes(samples)
        except OSError as error:  # the disk is full, for example
            self.error = error
            self.frames = self._end_at_last_sample()
        else:
            self.frames += len(samples) // 2

    def write_silence(self, count: int) -> None:
        """Append ``count`` silent samples."""
        while count > 0 and self.error is None:
            part = min(count, RATE)
            self.write(_CHUNK[: 2 * part])
            count -= part

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):  # the header of a file that could not even get that
            self._wave.close()
        self._file.close()

    def _end_at_last_sample(self) -> int:
        """Correct the sizes in the header for a write that was cut short, and return how many samples there are."""
        size = self._file.seek(0, os.SEEK_END)
        samples = max(0, size - _HEADER) // 2
        with contextlib.suppress(OSError):
            for place, value in ((4, _HEADER - 8 + 2 * samples), (40, 2 * samples)):
                if place + 4 <= size:
                    self._file.seek(place)
                    self._file.write(struct.pack("<I", value))
        return samples


@dataclass(frozen=True, slots=True)
class _Frame:
    """A frame that waits for its place.

    Attributes:
        position: Its timestamp, in samples of its stream.
        arrival: When it arrived, in samples of the recording.
        samples: What it holds.
    """

    position: int
    arrival: int
    samples: bytes


@dataclass(slots=True)
class TimedRecording:
    """Writes each frame at the time at which it was heard, and silence where nothing was.

    Within a stream the frames' timestamps decide: what the network delays or loses moves nothing. After a break (the
    first frame, another stream, a stream that goes on later than its timestamps say) the frame that arrived with the
    least delay decides where the stream continues.

    All times are seconds of the monotonic clock.

    Attributes:
        file: The file.
    """

    file: WavRecording
    _began: float | None = None
    _is_over: bool = False
    _source: object = None
    _offset: int | None = None  # from a timestamp to a place in the file; None while it is sought
    _waiting: list[_Frame] = field(default_factory=list)

    def start(self, now: float) -> None:
        """Begin at ``now``, unless a frame has begun it."""
        if self._began is None:
            self._began = now

    def add(self, source: object, position: int, samples: bytes, now: float) -> None:
        """Write a frame.

        Args:
            source: The stream to which it belongs; a new one begins a new clock.
            position: Its timestamp, in samples.
            samples: 16-bit mono samples.
            now: When it arrived.
        """
        if self._is_over:
            return
        self.start(now)
        frame = _Frame(position, self._at(now), samples)
        if source is not self._source or not self._continues(frame):
            self._place()
            self._source, self._offset = source, None
        if self._offset is not None:
            self._write(frame)
            return
        self._waiting.append(frame)
        if frame.arrival - self._waiting[0].arrival >= PLACING:
            self._place()

    def finish(self, now: float) -> None:
        """End the recording at ``now``; what arrives later is not recorded."""
        if self._is_over or self._began is None:
            return
        self._place()
        self._is_over = True
        self.file.write_silence(self._at(now) - self.file.frames)

    def _at(self, now: float) -> int:
        return round((now - (self._began or 0.0)) * RATE)

    def _continues(self, frame: _Frame) -> bool:
        """Return whether the frame arrived about when the clock of its stream says."""
        offset = self._least_delay() if self._offset is None else self._offset
        late = frame.arrival - frame.position - offset
        return -EARLY_MAX <= late <= LATE_MAX

    def _least_delay(self) -> int:
        return min((one.arrival - one.position for one in self._waiting), default=0)

    def _place(self) -> None:
        """Write the frames that wait, where the one with the least delay belongs."""
        if not self._waiting:
            return
        # Nothing that is written moves: what was held up, and comes at once, may have to begin earlier.
        first = self.file.frames - self._waiting[0].position
        self._offset = max(self._least_delay(), first)
        frames, self._waiting = self._waiting, []
        for frame in frames:
            self._write(frame)

    def _write(self, frame: _Frame) -> None:
        if self.file.frames > frame.arrival + EARLY_MAX:
            return  # more sound than time: nobody could hear it either
        gap = frame.position + (self._offset or 0) - self.file.frames
        self.file.write_silence(gap)
        # The part for which there is sound already is left out: a timestamp has gone back.
        self.file.write(frame.samples[2 * max(0, -gap) :])
