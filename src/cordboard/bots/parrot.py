"""The built-in bot: it greets the user, then repeats what it hears. It needs no network and no API key.

This is an ordinary Pipecat bot file, which also runs with Pipecat's own runner.
"""

import asyncio
import time
import wave
from importlib.resources import files

from pipecat.audio.vad.vad_analyzer import VADParams
from pipecat.frames.frames import (
    CancelFrame,
    ClientConnectedFrame,
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.runner.types import RunnerArguments
from pipecat.transports.base_transport import BaseTransport
from pipecat.workers.runner import WorkerRunner

from cordboard.bots.parrot_transport import is_phone_call, make_transport
from cordboard.bots.prepared_silero import PreparedSileroAnalyzer

SAMPLE_RATE_HZ = 16_000

# The rate of telephone audio. Resampling during the call would delay the first audio by 100 ms.
PHONE_SAMPLE_RATE_HZ = 8_000

SAMPLE_BYTES = 2
CHUNKS_PER_SECOND = 50  # 20 ms, a frame of Pipecat's output

# Audio from before the voice detector notices speech; without it the first syllable would be missing.
PRE_SPEECH_S = 0.5

# The longest turn that is repeated, so that an open microphone cannot fill the memory: 960 KB.
TURN_MAX_S = 30

# The silence that ends a turn. Shorter ones cut sentences at a pause for breath.
TURN_END_SILENCE_S = 0.6

# Audio is pushed this far ahead of playback: enough against stutter, little to discard on an interruption.
AHEAD_MAX_S = 0.2
AHEAD_MIN_S = 0.1


def _recorded(file: str) -> bytes:
    """Return the audio of a file of this package: 16-bit mono."""
    with files("cordboard.bots").joinpath(file).open("rb") as data, wave.open(data) as sound:
        return bytes(sound.readframes(sound.getnframes()))


# Read with the bot file; to resample the greeting in each call would delay it.
GREETINGS = {
    PHONE_SAMPLE_RATE_HZ: _recorded("greeting_8khz.wav"),
    SAMPLE_RATE_HZ: _recorded("greeting.wav"),
}


class Parrot(FrameProcessor):  # type: ignore[misc]  # Pipecat has no type hints
    """Greets the user, and plays each of the user's turns back when it ends.

    Args:
        greeting: Audio, 16-bit mono at `sample_rate_hz`.
        sample_rate_hz: The rate of the audio that is heard and spoken.
    """

    def __init__(self, greeting: bytes, sample_rate_hz: int) -> None:
        super().__init__()
        self._greeting = greeting
        self._sample_rate_hz = sample_rate_hz
        self._bytes_per_second = sample_rate_hz * SAMPLE_BYTES
        self._has_greeted = False
        self._turn = bytearray()
        self._is_user_speaking = False
        self._speech: asyncio.Task[None] | None = None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Handle `frame`, and pass it on in `direction`; the user's audio goes no further."""
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            self._record(frame.audio)
        elif isinstance(frame, ClientConnectedFrame) and not self._has_greeted:
            self._has_greeted = True
            await self._start_speaking(self._greeting)
        elif isinstance(frame, VADUserStartedSpeakingFrame):
            await self._on_turn_started()
        elif isinstance(frame, VADUserStoppedSpeakingFrame):
            await self._on_turn_ended()
        elif isinstance(frame, (EndFrame, CancelFrame)):
            await self._stop_speaking()
        if not isinstance(frame, InputAudioRawFrame):
            await self.push_frame(frame, direction)

    def _record(self, audio: bytes) -> None:
        self._turn += audio
        limit_s = TURN_MAX_S if self._is_user_speaking else PRE_SPEECH_S
        del self._turn[: max(len(self._turn) - int(limit_s * self._bytes_per_second), 0)]

    async def _on_turn_started(self) -> None:
        self._is_user_speaking = True
        await self._stop_speaking()
        await self.broadcast_frame(UserStartedSpeakingFrame)
        await self.broadcast_frame(InterruptionFrame)

    async def _on_turn_ended(self) -> None:
        turn, self._is_user_speaking = bytes(self._turn), False
        self._turn.clear()
        await self.broadcast_frame(UserStoppedSpeakingFrame)
        await self._start_speaking(turn)

    async def _start_speaking(self, audio: bytes) -> None:
        await self._stop_speaking()
        self._speech = self.create_task(self._speak(audio))

    async def _stop_speaking(self) -> None:
        if self._speech is not None:
            await self.cancel_task(self._speech)
            self._speech = None

    async def _speak(self, audio: bytes) -> None:
        """Push audio little faster than it is played, so that an interruption has little to discard."""
        began_at = time.monotonic()
        await self.push_frame(TTSStartedFrame())
        chunk_bytes = self._bytes_per_second // CHUNKS_PER_SECOND
        for start in range(0, len(audio), chunk_bytes):
            chunk = audio[start : start + chunk_bytes]
            await self.push_frame(
                TTSAudioRawFrame(audio=chunk, sample_rate=self._sample_rate_hz, num_channels=1)
            )
            ahead_s = start / self._bytes_per_second - (time.monotonic() - began_at)
            # Each time, the output gets its turn: the first chunk must not wait for the ten that follow it.
            await asyncio.sleep(ahead_s - AHEAD_MIN_S if ahead_s > AHEAD_MAX_S else 0)
        # Without this frame Pipecat takes the bot for speaking for 3 s more, and an answer for an interruption.
        await self.push_frame(TTSStoppedFrame())


async def bot(runner_args: RunnerArguments) -> None:
    """Run the bot in the room of `runner_args` until its user disconnects."""
    sample_rate_hz = PHONE_SAMPLE_RATE_HZ if is_phone_call(runner_args) else SAMPLE_RATE_HZ
    transport = await make_transport(runner_args, sample_rate_hz)
    vad = PreparedSileroAnalyzer(VADParams(stop_secs=TURN_END_SILENCE_S))
    worker = PipelineWorker(
        Pipeline(
            [
                transport.input(),
                VADProcessor(vad_analyzer=vad),
                Parrot(GREETINGS[sample_rate_hz], sample_rate_hz),
                transport.output(),
            ]
        ),
        params=PipelineParams(
            audio_in_sample_rate=sample_rate_hz, audio_out_sample_rate=sample_rate_hz
        ),
        idle_timeout_secs=runner_args.pipeline_idle_timeout_secs,
    )

    @transport.event_handler("on_client_disconnected")  # type: ignore[untyped-decorator]
    async def on_client_disconnected(_transport: BaseTransport, _client: object) -> None:
        await worker.cancel(reason="the user has disconnected")

    runner = WorkerRunner(handle_sigint=runner_args.handle_sigint)
    await runner.add_workers(worker)
    await runner.run()
