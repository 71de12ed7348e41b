"""The bot of the benchmark: Pipecat's services against doubles that know what is planted for its session."""

import asyncio
import os
from typing import Any

import aiohttp
from pipecat.adapters.schemas.function_schema import FunctionSchema
from pipecat.adapters.schemas.tools_schema import ToolsSchema
from pipecat.audio.vad.vad_analyzer import VADParams
from pipecat.frames.frames import LLMRunFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
    LLMUserAggregatorParams,
)
from pipecat.runner.utils import create_transport
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.services.openai.stt import OpenAISTTService
from pipecat.services.openai.tts import OpenAITTSService
from pipecat.transports.base_transport import TransportParams
from pipecat.turns.user_stop.speech_timeout_user_turn_stop_strategy import (
    SpeechTimeoutUserTurnStopStrategy,
)
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner

from cordboard.bots.prepared_silero import PreparedSileroAnalyzer

TOOL_TIMEOUT_S = 2.0
MEGABYTE = 1 << 20
LOOKUP = FunctionSchema("lookup_order", "Looks an order up.", {"order": {"type": "string"}}, [])
transport_params = {
    "webrtc": lambda: TransportParams(audio_in_enabled=True, audio_out_enabled=True)
}


async def bot(runner_args: Any) -> None:
    """Run the bot until its user has gone, or what is planted happens."""
    url = f"{os.environ['SERVICE_DOUBLES_URL']}/{runner_args.session_id}"
    async with aiohttp.ClientSession() as client, client.get(f"{url}/plan") as answer:
        plan = await answer.json()
    trouble = asyncio.create_task(_trouble(plan.get("bot") or {}, url))
    talking = asyncio.create_task(_talk(runner_args, f"{url}/v1"))
    try:
        done, _ = await asyncio.wait({trouble, talking}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        trouble.cancel()
        talking.cancel()


async def _say(url: str, what: str) -> None:
    """Tell the benchmark what happens next."""
    async with aiohttp.ClientSession() as client, client.get(f"{url}/did/{what}"):
        pass


async def _trouble(plan: dict[str, Any], url: str) -> None:
    """Raise, exit, or take all memory after a while; wait for ever if nothing is planted."""
    await asyncio.sleep(plan.get("after_s", 1e6))
    await _say(url, plan["what"])
    if plan["what"] == "memory":
        kept = []
        while True:
            kept.append(bytearray(50 * MEGABYTE))
    if plan["what"] == "exit":
        os._exit(plan["status"])
    kinds = {"ValueError": ValueError, "KeyError": KeyError, "RuntimeError": RuntimeError}
    raise kinds[plan["what"]](plan.get("text", "no order 4711"))


async def _talk(runner_args: Any, url: str) -> None:
    async def look_up(params: Any) -> None:
        # A user who goes on speaking cancels the call of the tool before that.
        await asyncio.sleep(0.9 * TOOL_TIMEOUT_S)
        await _say(url.removesuffix("/v1"), "tool")
        await asyncio.sleep(60)
        await params.result_callback({"order": "4711"})

    transport = await create_transport(runner_args, transport_params)
    key = os.environ["OPENAI_API_KEY"]
    stt = OpenAISTTService(api_key=key, base_url=url)
    llm = OpenAILLMService(api_key=key, base_url=url)
    tts = OpenAITTSService(api_key=key, base_url=url)
    llm.register_function("lookup_order", look_up, timeout_secs=TOOL_TIMEOUT_S)
    context = LLMContext(tools=ToolsSchema(standard_tools=[LOOKUP]))
    user, assistant = LLMContextAggregatorPair(
        context,
        user_params=LLMUserAggregatorParams(
            vad_analyzer=PreparedSileroAnalyzer(VADParams(stop_secs=0.2)),
            # Pipecat's default, a model, takes as much processor time as the rest of the call.
            user_turn_strategies=UserTurnStrategies(stop=[SpeechTimeoutUserTurnStopStrategy()]),
        ),
    )
    worker = PipelineWorker(
        Pipeline([transport.input(), stt, user, llm, tts, transport.output(), assistant]),
        params=PipelineParams(enable_metrics=True),
        idle_timeout_secs=None,
    )
    runner = WorkerRunner(handle_sigint=runner_args.handle_sigint)

    @transport.event_handler("on_client_connected")  # type: ignore[untyped-decorator]
    async def on_client_connected(_transport: object, _client: object) -> None:
        context.add_message({"role": "developer", "content": "Please greet the user."})
        await worker.queue_frames([LLMRunFrame()])

    await runner.add_workers(worker)
    await runner.run()
