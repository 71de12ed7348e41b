"""The bot of the benchmark: it greets, and answers each turn with a known sound after a known time."""

import asyncio
import os
import random
import wave
from typing import Any

from pipecat.audio.vad.vad_analyzer import VADParams
from pipecat.frames.frames import UserStoppedSpeakingFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.workers.runner import WorkerRunner

from cordboard.bots.parrot import GREETINGS, SAMPLE_RATE_HZ, Parrot
from cordboard.bots.parrot_transport import make_transport
from cordboard.bots.prepared_silero import PreparedSileroAnalyzer

TURN_END_SILENCE_S = 0.2
ANSWERS_AFTER_S = (0.1, 0.6)

with wave.open(os.environ["HEARD_ANSWER"]) as _sound:
    ANSWER = _sound.readframes(_sound.getnframes())


class Answering(Parrot):
    """Says the answer some time after each turn."""

    def __init__(self) -> None:
        super().__init__(GREETINGS[SAMPLE_RATE_HZ], SAMPLE_RATE_HZ)
        self._random = random.Random(7)

    async def _on_turn_ended(self) -> None:
        self._is_user_speaking = False
        await self.broadcast_frame(UserStoppedSpeakingFrame)
        await self._stop_speaking()
        self._speech = self.create_task(self._answer(self._random.uniform(*ANSWERS_AFTER_S)))

    async def _answer(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await self._speak(ANSWER)


async def bot(args: Any) -> None:
    transport = await make_transport(args, SAMPLE_RATE_HZ)
    vad = PreparedSileroAnalyzer(VADParams(stop_secs=TURN_END_SILENCE_S))
    worker = PipelineWorker(
        Pipeline(
            [transport.input(), VADProcessor(vad_analyzer=vad), Answering(), transport.output()]
        ),
        params=PipelineParams(
            audio_in_sample_rate=SAMPLE_RATE_HZ, audio_out_sample_rate=SAMPLE_RATE_HZ
        ),
    )

    @transport.event_handler("on_client_disconnected")  # type: ignore[untyped-decorator]
    async def on_client_disconnected(_transport: Any, _client: Any) -> None:
        await worker.cancel(reason="the user has disconnected")

    runner = WorkerRunner(handle_sigint=args.handle_sigint)
    await runner.add_workers(worker)
    await runner.run()
