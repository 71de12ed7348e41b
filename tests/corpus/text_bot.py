"""A bot of the shape of Pipecat's examples, without sound: it greets its user, who then asks a question.

After an interruption, the user begins to say something else.
"""

import os
from typing import Any

from pipecat.frames.frames import LLMMessagesAppendFrame, LLMRunFrame
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
BEGIN = {"role": "user", "content": "And what about"}


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
    begun: list[bool] = []

    @worker.event_handler("on_pipeline_started")  # type: ignore[untyped-decorator]
    async def on_pipeline_started(_worker: object, _frame: object) -> None:
        context.add_message(GREET)
        await worker.queue_frames([LLMRunFrame()])

    @assistant.event_handler("on_assistant_turn_stopped")  # type: ignore[untyped-decorator]
    async def on_assistant_turn_stopped(_assistant: object, _message: object) -> None:
        if ASK not in context.messages:
            await worker.queue_frames([LLMMessagesAppendFrame([ASK], run_llm=True)])
        elif runner_args.body["context"] and BEGIN not in context.messages:
            await worker.queue_frames([LLMMessagesAppendFrame([BEGIN])])

    @user.event_handler("on_after_process_frame")  # type: ignore[untyped-decorator]
    async def on_after_process_frame(_user: object, _frame: object) -> None:
        if BEGIN in context.messages and not begun:
            begun.append(True)
            log.info("The user has begun to speak")

    await runner.add_workers(worker)
    await runner.run()
