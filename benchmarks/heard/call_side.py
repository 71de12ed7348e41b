"""Calls with `cordboard call`'s own code, and an independent witness of its samples."""

import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from heard.known_sound import RATE, UP, Samples, Tape

from cordboard import emit
from cordboard.call import place_call
from cordboard.call.audio import FRAME_S, Microphone, SoundDetector
from cordboard.call.heard import HeardTurns
from cordboard.call.options import CallOptions


async def record(
    gateway: str, secret: str, say: Path, session_id: str
) -> tuple[list[dict[str, Any]], Tape, Tape]:
    """Make a call; return its lines, and what was sent and heard."""
    sent, heard = Tape(), Tape()

    class TapedMicrophone(Microphone):
        async def recv(self) -> Any:
            frame = await super().recv()
            # It is sent when its last sample has been spoken.
            sent.add(time.time(), _unpacked(bytes(frame.planes[0])[: 2 * frame.samples]))
            return frame

    class TapedSound(SoundDetector):
        def add_samples(self, samples: bytes, now: float) -> None:
            # A loudspeaker would begin with its first sample now.
            heard.add(time.time() + FRAME_S, _unpacked(samples))
            super().add_samples(samples, now)

    options = CallOptions(
        room="webrtc:heard",
        gateway_url=gateway,
        control_secret=secret,
        session_id=session_id,
        say=say,
        measures=True,
    )
    with (
        mock.patch("cordboard.call.conversation.Microphone", TapedMicrophone),
        mock.patch("cordboard.call.conversation.SoundDetector", TapedSound),
        emit.capture() as records,
    ):
        result = await place_call(options)
    if not result.ok:
        raise SystemExit(f"The call failed: {result.reason}")
    return records, sent, heard


def _unpacked(samples: bytes) -> Samples:
    unpacked: Samples = np.frombuffer(samples, dtype="<i2").reshape(-1, UP).mean(axis=1)
    return unpacked


def cost(speech: bytes, reply: bytes) -> float:
    """Return the processor time of the measurement as a share of a core, while both sides speak all the time."""
    turns = HeardTurns(lambda _turn: None)
    with_it = _cost_of(turns, speech, reply)
    return with_it - _cost_of(None, speech, reply)


def _cost_of(turns: HeardTurns | None, speech: bytes, reply: bytes) -> float:
    ear = SoundDetector(turns=turns)
    mouth = SoundDetector(turns=turns)  # what a microphone does with a frame is the same
    size = 2 * round(RATE * UP * FRAME_S)
    frames = [
        (speech[at : at + size], reply[at : at + size])
        for at in range(0, min(len(speech), len(reply)) - size, size)
    ]
    rounds = 50
    before = time.process_time()
    for number in range(rounds):
        for at, (one, other) in enumerate(frames):
            now = (number * len(frames) + at) * FRAME_S
            ear.add_samples(one, now)
            mouth.add_samples(other, now)
    return (time.process_time() - before) / (rounds * len(frames) * FRAME_S)
