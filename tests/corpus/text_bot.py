"""A bot of the shape of Pipecat's examples, without sound: it greets its user, who then asks a question.

When the user hears it again after an interruption, they ask it to count.
"""

import os
from typing import Any

from pipecat.frames.frames import Frame, LLMMessagesAppendFrame, LLMRunFrame, LLMTextFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.workers.runner import WorkerRunner

from cordboard import get_logger

log = get_logger("text_bot")

GREET = {"role": "developer", "content": "Please greet the user."}
ASK = {"role": "user", "content": "What is the capital of Germany?"}
COUNT = {"role": "user", "content": "Count, please."}


async def bot(runner_args: Any) -> None:
    """Run the bot until it is stopped."""
    llm = OpenAILLMService(
        api_key=os.environ["OPENAI_API_KEY"],
        settings=OpenAILLMService.Settings(system_instruction="You are a helpful assistant."),
    )
    context = LLMContext()
    user, assistant = LLMContextAggregatorPair(context)
    worker = PipelineWorker(Pipeline([user, llm, assistant]), cancel_on_idle_timeout=False)
    runner = WorkerRunner(handle_sigint=runner_args.handle_sigint)
    asked: list[object] = []

    @worker.event_handler("on_pipeline_started")  # type: ignore[untyped-decorator]
    async def on_pipeline_started(_worker: object, _frame: object) -> None:
        context.add_message(GREET)
        await worker.queue_frames([LLMRunFrame()])

    @assistant.event_handler("on_assistant_turn_stopped")  # type: ignore[untyped-decorator]
    async def on_assistant_turn_stopped(_assistant: object, _message: object) -> None:
        said = ASK if ASK not in context.messages else COUNT
        if not asked and said not in context.messages:
            asked.append(said)
            await worker.queue_frames([LLMMessagesAppendFrame([said], run_llm=True)])

    @assistant.event_handler("on_after_process_frame")  # type: ignore[untyped-decorator]
    async def on_after_process_frame(_assistant: object, frame: Frame) -> None:
        if isinstance(frame, LLMTextFrame) and COUNT in context.messages:
            log.info("The answer has begun")

    await runner.add_workers(worker)
    await runner.run()
