"""A bot of the shape of Pipecat's voice examples: speech to text, a language model, text to speech.

The official ones are no part of this project; this one needs no SDK beyond those of the tests.
"""

import os
from typing import Any

from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.evals.transport import EvalTransportParams
from pipecat.frames.frames import LLMRunFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
    LLMUserAggregatorParams,
)
from pipecat.runner.utils import create_transport
from pipecat.serializers.protobuf import ProtobufFrameSerializer
from pipecat.services.cartesia.tts import CartesiaTTSService
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.services.openai.stt import OpenAISTTService
from pipecat.transports.base_transport import TransportParams
from pipecat.transports.daily.transport import DailyParams
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams
from pipecat.workers.runner import WorkerRunner

AUDIO = {"audio_in_enabled": True, "audio_out_enabled": True}
transport_params = {
    "daily": lambda: DailyParams(**AUDIO),
    "eval": lambda: EvalTransportParams(**AUDIO),
    "twilio": lambda: FastAPIWebsocketParams(**AUDIO),
    "webrtc": lambda: TransportParams(**AUDIO),
    "websocket": lambda: FastAPIWebsocketParams(**AUDIO, serializer=ProtobufFrameSerializer()),
}


async def bot(runner_args: Any) -> None:
    """Run the bot until its user has gone."""
    transport = await create_transport(runner_args, transport_params)
    stt = OpenAISTTService(api_key=os.environ["OPENAI_API_KEY"])
    llm = OpenAILLMService(api_key=os.environ["OPENAI_API_KEY"])
    settings = CartesiaTTSService.Settings(voice="71a7ad14-091c-4e8e-a314-022ece01c121")
    tts = CartesiaTTSService(api_key=os.environ["CARTESIA_API_KEY"], settings=settings)
    context = LLMContext()
    user, assistant = LLMContextAggregatorPair(
        context, user_params=LLMUserAggregatorParams(vad_analyzer=SileroVADAnalyzer())
    )
    worker = PipelineWorker(
        Pipeline([transport.input(), stt, user, llm, tts, transport.output(), assistant]),
        params=PipelineParams(enable_metrics=True, enable_usage_metrics=True),
        idle_timeout_secs=runner_args.pipeline_idle_timeout_secs,
    )
    runner = WorkerRunner(handle_sigint=runner_args.handle_sigint)

    @transport.event_handler("on_client_connected")  # type: ignore[untyped-decorator]
    async def on_client_connected(_transport: object, _client: object) -> None:
        context.add_message({"role": "developer", "content": "Please greet the user."})
        await worker.queue_frames([LLMRunFrame()])

    @transport.event_handler("on_client_disconnected")  # type: ignore[untyped-decorator]
    async def on_client_disconnected(_transport: object, _client: object) -> None:
        await runner.cancel()

    await runner.add_workers(worker)
    await runner.run()


if __name__ == "__main__":
    from pipecat.runner.run import main

    main()
