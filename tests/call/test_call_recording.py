"""The recording keeps time, whatever the network and the bots do."""

import tempfile
import wave
from array import array
from dataclasses import dataclass
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from cordboard.call.audio import FRAME
from cordboard.call.recording import (
    EARLY_MAX,
    LATE_MAX,
    PLACING,
    RATE,
    TimedRecording,
    WavRecording,
)

FRAME_S = FRAME / RATE


@dataclass(frozen=True)
class Sent:
    """A frame of a bot: its place by the bot's clock, in frames, and what delayed it, in seconds."""

    index: int
    delay_s: float
    is_lost: bool


@dataclass(frozen=True)
class Stream:
    """One connection of a bot: how long nobody is heard before it, its first timestamp, and its frames."""

    pause_s: float
    first: int
    frames: list[Sent]


def streams() -> st.SearchStrategy[Stream]:
    # A network holds frames up by less than what counts as a break, and loses some.
    delay = st.one_of(st.just(0.0), st.floats(0.0, 0.3))
    frames = st.lists(st.tuples(delay, st.booleans()), min_size=1, max_size=60).map(
        lambda drawn: [Sent(index, *one) for index, one in enumerate(drawn)]
    )
    return st.builds(
        Stream, st.floats(0.0, 3.0), st.integers(0, 2**40).map(lambda n: n * FRAME), frames
    )


def value(number: int) -> int:
    return 1 + number % 30_000


@given(st.lists(streams(), min_size=1, max_size=3), st.floats(0.0, 2.0))
@settings(max_examples=60)
def test_recording_is_as_long_as_the_call(bots: list[Stream], tail_s: float) -> None:
    """Each frame that arrived is in it once, in order, about where it was heard; all else is silence."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "out.wav")
        file = WavRecording(path)
        recording = TimedRecording(file)
        recording.start(100.0)
        now, number, heard = 100.0, 0, []
        for source, bot in enumerate(bots):
            began = now + bot.pause_s
            arrived = began
            for one in bot.frames:
                number += 1
                if one.is_lost and one.index:
                    continue
                # A jitter buffer hands frames over in their order.
                arrived = max(arrived, began + one.index * FRAME_S + one.delay_s)
                samples = array("h", [value(number)] * FRAME).tobytes()
                recording.add(source, bot.first + one.index * FRAME, samples, arrived)
                heard.append((value(number), arrived))
            now = max(arrived, began + len(bot.frames) * FRAME_S)
        end = now + tail_s
        recording.finish(end)
        recording.add("late", 0, array("h", [1] * FRAME).tobytes(), end)
        file.close()
        with wave.open(str(path)) as read:
            written = array("h", read.readframes(read.getnframes()))
    # A stream whose first frames were held up may end a little later than the call.
    assert 0 <= len(written) - round((end - 100) * RATE) <= LATE_MAX
    assert len(written) - written.count(0) == len(heard) * FRAME
    at = 0
    for wanted, arrived in heard:
        at = written.index(wanted, at)
        late_s = arrived - 100 - at / RATE
        assert -0.31 <= late_s <= 0.31
        assert written[at : at + FRAME].count(wanted) == FRAME
        at += FRAME


@given(st.integers(-EARLY_MAX * 50, EARLY_MAX * 50), st.floats(0.0, 2.0))
@settings(max_examples=30)
def test_timestamps_that_jump_cost_nothing(jump: int, pause_s: float) -> None:
    """A clock that is set forth or back, with a pause or without one: the file stays as long as the call."""
    with tempfile.TemporaryDirectory() as folder:
        file = WavRecording(Path(folder, "out.wav"))
        recording = TimedRecording(file)
        loud = array("h", [9] * FRAME).tobytes()
        for index in range(50):
            recording.add("bot", index * FRAME, loud, index * FRAME_S)
        for index in range(50, 100):
            recording.add("bot", jump + index * FRAME, loud, pause_s + index * FRAME_S)
        end = pause_s + 100 * FRAME_S
        recording.finish(end)
        assert 0 <= file.frames - round(end * RATE) <= EARLY_MAX + PLACING
        file.close()


def test_sender_faster_than_time_makes_no_longer_file(tmp_path: Path) -> None:
    """What nobody could hear in real time is left out."""
    file = WavRecording(tmp_path / "out.wav")
    recording = TimedRecording(file)
    for index in range(1000):
        recording.add("bot", index * FRAME, bytes(2 * FRAME), index * FRAME_S / 4)
    recording.finish(5.0)
    assert 5.0 <= file.seconds <= 5.0 + (EARLY_MAX + PLACING + FRAME) / RATE
    file.close()


def test_frames_that_were_held_up_stay_where_they_belong(tmp_path: Path) -> None:
    """At the beginning and later: those that come at once do not move what comes after them."""
    file = WavRecording(tmp_path / "out.wav")
    recording = TimedRecording(file)
    recording.start(0.0)
    for index in range(200):
        held_until = 0.3 if index < 15 else 2.5 if 100 <= index < 125 else 0.0
        samples = array("h", [value(index)] * FRAME).tobytes()
        recording.add("bot", index * FRAME, samples, max(index * FRAME_S, held_until))
    recording.finish(4.0)
    file.close()
    with wave.open(str(tmp_path / "out.wav")) as read:
        heard = array("h", read.readframes(read.getnframes()))
    assert heard[::FRAME].tolist() == [value(index) for index in range(200)]


def test_failed_write_ends_the_recording() -> None:
    """Not even the header could be written, and nothing is raised: the call goes on."""
    file = WavRecording(Path("/dev/full"))
    recording = TimedRecording(file)
    for index in range(100):
        recording.add("bot", index * FRAME, bytes(2 * FRAME), index * FRAME_S)
    recording.finish(5.0)
    file.close()
    assert file.error is not None
    assert file.error.strerror == "No space left on device"
    assert file.seconds == 0.0
