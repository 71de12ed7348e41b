"""What is said and heard, as samples."""

import wave
from pathlib import Path

import pytest

from cordboard.call.audio import (
    FRAME,
    PAUSE_S,
    SoundDetector,
    peak_amplitude,
    read_speech,
)
from cordboard.call.recording import RATE, WavRecording
from cordboard.contract.errors import UsageError

LOUD = (1000).to_bytes(2, "little") * FRAME
SILENT = bytes(2 * FRAME)


def write(path: Path, samples: bytes, *, rate: int = RATE, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, rate, 0, "NONE", ""))
        file.writeframes(samples)
    return path


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (16_000, 2), (44_100, 2), (48_000, 1)])
def test_every_rate_and_channel_count_becomes_one_format(
    tmp_path: Path, rate: int, channels: int
) -> None:
    """A file of any rate becomes 48 kHz mono of the same length."""
    path = write(tmp_path / "a.wav", LOUD[:2] * rate * channels, rate=rate, channels=channels)
    assert len(read_speech(path)) / 2 / RATE == pytest.approx(1.0, abs=0.03)


def test_silence_at_the_end_is_cut(tmp_path: Path) -> None:
    """The bot's answer is awaited from the last sound, not from the end of the file."""
    path = write(tmp_path / "a.wav", SILENT * 5 + LOUD * 10 + SILENT * 50)
    assert len(read_speech(path)) == pytest.approx(15 * len(LOUD), abs=len(LOUD))


def test_silent_file_is_refused(tmp_path: Path) -> None:
    """A turn that no voice detection can find is an error of the caller."""
    with pytest.raises(UsageError, match="silent"):
        read_speech(write(tmp_path / "a.wav", SILENT * 20))


def test_onset_needs_a_pause_before_it() -> None:
    """Words are one sound; only after a pause does another begin."""
    ear = SoundDetector()
    for now in (1.0, 1.2, 1.4, 1.4 + PAUSE_S, 9.0):
        ear.add_samples(LOUD, now)
    ear.add_samples(SILENT, 9.1)
    assert ear.onsets == [1.0, 1.4 + PAUSE_S, 9.0]
    assert ear.onset_after(2.0) == 1.4 + PAUSE_S
    assert ear.onset_after(9.0) is None
    assert not ear.is_quiet(9.2)
    assert ear.is_quiet(9.0 + PAUSE_S)


def test_peak_includes_negative_samples() -> None:
    """The lowest amplitude counts as the highest does."""
    assert peak_amplitude((-32768).to_bytes(2, "little", signed=True)) == 32768
    assert peak_amplitude(b"") == 0


def test_recording_is_valid_before_it_is_closed(tmp_path: Path) -> None:
    """A call that is cut off leaves a wav file that plays."""
    recording = WavRecording(tmp_path / "out.wav")
    recording.write(LOUD)
    with wave.open(str(tmp_path / "out.wav")) as file:
        assert file.getnframes() == FRAME
    recording.close()
