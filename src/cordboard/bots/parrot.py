"""The built-in bot: greets, then says back what it heard. Needs no network and no key.

An ordinary Pipecat bot file: it runs under Pipecat's own runner as well.
"""

import asyncio
import time
import wave
from importlib.resources import files

from pipecat.audio.vad.silero import SileroVADAnalyzer
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
from pipecat.runner.types import RunnerArguments, SmallWebRTCRunnerArguments
from pipecat.transports.base_transport import TransportParams
from pipecat.transports.smallwebrtc.transport import SmallWebRTCTransport
from pipecat.workers.runner import WorkerRunner

SAMPLE_RATE_HZ = 16_000
BYTES_A_SECOND = SAMPLE_RATE_HZ * 2
CHUNK_BYTES = BYTES_A_SECOND // 50  # 20 ms
BEFORE_SPEECH_S = 0.5  # kept from before the voice is noticed, so that no first syllable is lost
TURN_MAX_S = 30
STOP_SECS = 0.6  # silence that ends a turn


class Parrot(FrameProcessor):  # type: ignore[misc]  # Pipecat is not typed for us
    """Greets when somebody comes, and plays each of her turns back when it ends."""

    def __init__(self, greeting: bytes) -> None:
        super().__init__()
        self._greeting = greeting
        self._greeted = False
        self._heard = bytearray()
        self._listening = False
        self._saying: asyncio.Task[None] | None = None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Take one frame."""
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            self._hear(frame.audio)
        elif isinstance(frame, ClientConnectedFrame) and not self._greeted:
            self._greeted = True
            await self._say(self._greeting)
        elif isinstance(frame, VADUserStartedSpeakingFrame):
            await self._user_began()
        elif isinstance(frame, VADUserStoppedSpeakingFrame):
            await self._user_ended()
        elif isinstance(frame, (EndFrame, CancelFrame)):
            await self._hush()
        if not isinstance(frame, InputAudioRawFrame):
            await self.push_frame(frame, direction)

    def _hear(self, audio: bytes) -> None:
        self._heard += audio
        most_s = TURN_MAX_S if self._listening else BEFORE_SPEECH_S
        del self._heard[: max(len(self._heard) - int(most_s * BYTES_A_SECOND), 0)]

    async def _user_began(self) -> None:
        self._listening = True
        await self._hush()
        await self.broadcast_frame(UserStartedSpeakingFrame)
        await self.broadcast_frame(InterruptionFrame)

    async def _user_ended(self) -> None:
        turn, self._listening = bytes(self._heard), False
        self._heard.clear()
        await self.broadcast_frame(UserStoppedSpeakingFrame)
        await self._say(turn)

    async def _say(self, audio: bytes) -> None:
        await self._hush()
        self._saying = self.create_task(self._speak(audio))

    async def _hush(self) -> None:
        if self._saying is not None:
            await self.cancel_task(self._saying)
            self._saying = None

    async def _speak(self, audio: bytes) -> None:
        """Push audio a little faster than it is played, so that an interruption finds little."""
        began = time.monotonic()
        await self.push_frame(TTSStartedFrame())
        for start in range(0, len(audio), CHUNK_BYTES):
            chunk = audio[start : start + CHUNK_BYTES]
            await self.push_frame(
                TTSAudioRawFrame(audio=chunk, sample_rate=SAMPLE_RATE_HZ, num_channels=1)
            )
            ahead_s = start / BYTES_A_SECOND - (time.monotonic() - began)
            if ahead_s > 0.2:  # noqa: PLR2004 - a fifth of a second in hand
                await asyncio.sleep(ahead_s - 0.1)
        # Else Pipecat takes us for speaking for 3 s more, and whoever answers for an interrupter.
        await self.push_frame(TTSStoppedFrame())


def greeting() -> bytes:
    """Return the recorded greeting: 16-bit mono at SAMPLE_RATE_HZ."""
    with (
        files("cordboard.bots").joinpath("greeting.wav").open("rb") as file,
        wave.open(file) as sound,
    ):
        return bytes(sound.readframes(sound.getnframes()))


async def bot(runner_args: RunnerArguments) -> None:
    """Run the bot in a peer-to-peer room until its user has gone."""
    if not isinstance(runner_args, SmallWebRTCRunnerArguments):
        raise TypeError("The parrot speaks in webrtc: rooms only; name your own bot with --bot.")
    transport = SmallWebRTCTransport(
        runner_args.webrtc_connection,
        TransportParams(
            audio_in_enabled=True,
            audio_in_sample_rate=SAMPLE_RATE_HZ,
            audio_out_enabled=True,
            audio_out_sample_rate=SAMPLE_RATE_HZ,
            audio_out_10ms_chunks=2,
        ),
    )
    vad = SileroVADAnalyzer(params=VADParams(stop_secs=STOP_SECS))
    worker = PipelineWorker(
        Pipeline(
            [
                transport.input(),
                VADProcessor(vad_analyzer=vad),
                Parrot(greeting()),
                transport.output(),
            ]
        ),
        params=PipelineParams(
            audio_in_sample_rate=SAMPLE_RATE_HZ, audio_out_sample_rate=SAMPLE_RATE_HZ
        ),
        idle_timeout_secs=runner_args.pipeline_idle_timeout_secs,
    )

    @transport.event_handler("on_client_disconnected")  # type: ignore[untyped-decorator]
    async def on_client_disconnected(_transport: SmallWebRTCTransport, _client: object) -> None:
        await worker.cancel(reason="the user has gone")

    runner = WorkerRunner(handle_sigint=runner_args.handle_sigint)
    await runner.add_workers(worker)
    await runner.run()
