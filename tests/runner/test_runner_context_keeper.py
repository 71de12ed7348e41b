"""A pipeline's contexts are taken at the end of each turn, and put back before the next one starts."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from pipecat.frames.frames import (
    EndFrame,
    Frame,
    FunctionCallFromLLM,
    FunctionCallInProgressFrame,
    FunctionCallsStartedFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMMessagesAppendFrame,
    LLMMessagesUpdateFrame,
    LLMRunFrame,
    LLMTextFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.async_tool_messages import build_started_message
from pipecat.processors.aggregators.llm_context import LLMContext, LLMSpecificMessage
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner

from cordboard.runner.context_keeper import ContextKeeper
from cordboard.runner.kept_messages import CONTEXT_MAX_BYTES, RESUMED
from lines_support import Lines, lines

__all__ = ["lines"]

NAME = "conversation"
GREET = {"role": "developer", "content": "Greet the user."}
HELLO = {"role": "assistant", "content": "Hello!"}
QUESTION = {"role": "user", "content": "What is the capital of Germany?"}
SAID = [GREET, HELLO, QUESTION, HELLO]


class Model(FrameProcessor):  # type: ignore[misc]  # Pipecat has no type hints
    """A language model that says hello, or calls a tool; keeps what it was asked."""

    def __init__(self, tool_call: str = "", *, is_endless: bool = False) -> None:
        super().__init__()
        self.is_endless, self.has_begun = is_endless, asyncio.Event()
        self.asked: list[list[Any]] = []
        self.tool_call = tool_call

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        self.asked.append(list(frame.context.messages))
        answer: list[Frame] = [LLMTextFrame("Hello!")]
        if self.tool_call:
            known = {"function_name": "find", "tool_call_id": self.tool_call, "arguments": {}}
            started = FunctionCallFromLLM(**known, context=frame.context)
            answer = [
                FunctionCallsStartedFrame([started]),
                FunctionCallInProgressFrame(**known, cancel_on_interruption=True),
            ]
        for one in (LLMFullResponseStartFrame(), *answer, LLMFullResponseEndFrame()):
            if isinstance(one, LLMFullResponseEndFrame) and self.is_endless:
                self.has_begun.set()
                await asyncio.sleep(600)
            await self.push_frame(one)


@dataclass
class Bot:
    """The process of one bot: its keeper, its pipeline, and what the runner gets."""

    kept: Any = None
    body: dict[str, Any] = field(default_factory=dict)
    model: Model = field(default_factory=Model)
    context: LLMContext = field(default_factory=LLMContext)
    sent: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.keeper = ContextKeeper(self.kept, self._send)
        self.keeper.add_to(self.body)

    async def run(
        self, *frames: Frame, more: Sequence[FrameProcessor] = (), later: Frame | None = None
    ) -> None:
        """Run a pipeline with these frames to its end; with one more when the first turn has ended."""
        user, assistant = LLMContextAggregatorPair(self.context)
        worker = PipelineWorker(Pipeline([user, self.model, assistant, *more]), name=NAME)
        self.keeper.attach(worker)
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(worker)
        if later is not None:

            @assistant.event_handler("on_assistant_turn_stopped")  # type: ignore[untyped-decorator]
            async def go_on(_assistant: object, _message: object) -> None:
                if len(self.model.asked) == 1:
                    await worker.queue_frames([later, EndFrame()])

        await worker.queue_frames(
            [*frames, *([] if later or self.model.is_endless else [EndFrame()])]
        )
        await asyncio.wait_for(runner.run(), 20)

    async def _send(self, data: bytes) -> None:
        assert len(data) <= CONTEXT_MAX_BYTES
        self.sent.append(json.loads(data))


def snapshot(*contexts: list[Any]) -> dict[str, Any]:
    return {"v": 1, "workers": {NAME: list(contexts)}}


async def test_context_is_sent_at_the_end_of_a_turn() -> None:
    """Once: a turn that adds nothing is not sent again."""
    bot = Bot()
    await bot.run(LLMMessagesAppendFrame([GREET], run_llm=True))
    assert bot.sent == [snapshot([GREET, HELLO])]
    await bot.keeper.take()
    assert len(bot.sent) == 1
    assert bot.body["context"] == []


@pytest.mark.parametrize(
    "frames",
    [
        [LLMMessagesAppendFrame([GREET]), LLMRunFrame()],
        [LLMMessagesAppendFrame([GREET], run_llm=True)],
        [LLMMessagesUpdateFrame([GREET], run_llm=True)],
        [LLMRunFrame()],
    ],
    ids=["append and run", "append", "replace", "run"],
)
async def test_bot_that_greets_goes_on_instead(frames: list[Frame]) -> None:
    """However it asks the model to greet; the next turn is its own again."""
    bot = Bot(kept=snapshot(SAID))
    await bot.run(*frames, later=LLMMessagesAppendFrame([GREET], run_llm=True))
    assert bot.model.asked == [[*SAID, RESUMED], [*SAID, RESUMED, HELLO, GREET]]
    assert bot.body["context"] == SAID


async def test_messages_of_the_bot_give_way() -> None:
    """The kept ones began with them."""
    prompt = {"role": "system", "content": "Be kind."}
    bot = Bot(kept=snapshot([prompt, *SAID]), context=LLMContext([prompt]))
    await bot.run(LLMRunFrame())
    assert bot.model.asked == [[prompt, *SAID, RESUMED]]


@pytest.mark.parametrize("has_read", [True, False], ids=["reads", "removes"])
async def test_bot_that_reads_its_body_is_left_alone(has_read: bool) -> None:
    """It has put the messages into its context, or has removed them from its body."""
    bot = Bot(kept=snapshot(SAID))
    assert str(bot.body) == "{'context': <4 messages>}"  # many bots log it
    messages = bot.body["context"] if has_read else bot.body.pop("context")[:1]
    bot.context = LLMContext([*messages, GREET])
    await bot.run(LLMRunFrame())
    assert bot.model.asked == [[*messages, GREET]]


async def test_turn_with_a_running_tool_call_is_not_complete() -> None:
    """It ends with the answer; a call of the process before, which ended with it, is cancelled."""
    bot = Bot(model=Model(tool_call="c1"))
    await bot.run(LLMMessagesAppendFrame([QUESTION], run_llm=True))
    assert bot.sent == []
    await bot.keeper.take()  # as before a hand-over
    call, result = bot.sent[0]["workers"][NAME][0][1:]
    assert result["content"] == "IN_PROGRESS"
    waits = build_started_message("c2")
    call_2 = {**call, "tool_calls": [{**call["tool_calls"][0], "id": "c2"}]}
    heir = Bot(kept=snapshot([QUESTION, call, result, call_2, waits]))
    await heir.run(LLMRunFrame())
    assert heir.model.asked[0][:3] == [QUESTION, call, {**result, "content": "CANCELLED"}]
    assert "was cancelled" in heir.model.asked[0][4]["content"]


async def test_cancelled_turn_is_taken_as_far_as_it_went() -> None:
    """As before a hand-over: the question is not lost, nor what the bot has said of its answer."""
    bot = Bot(model=Model(is_endless=True))
    running = asyncio.create_task(bot.run(LLMMessagesAppendFrame([QUESTION], run_llm=True)))
    await asyncio.wait_for(bot.model.has_begun.wait(), 20)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await bot.keeper.take()
    assert bot.sent[-1] == snapshot([QUESTION, HELLO])


async def test_several_contexts_and_those_of_services_return_to_their_places() -> None:
    """A second context of the pipeline gets its own messages, with the bytes of a service's message."""
    thought = LLMSpecificMessage(
        llm="google", message={"type": "thought", "signature": b"\x00\xff"}
    )
    bot, second = Bot(), LLMContext([thought])
    await bot.run(
        LLMMessagesAppendFrame([GREET], run_llm=True), more=[*LLMContextAggregatorPair(second)]
    )
    heir, empty = Bot(kept=bot.sent[-1]), LLMContext()
    await heir.run(more=[*LLMContextAggregatorPair(empty)])
    assert heir.context.messages == [GREET, HELLO]
    assert empty.messages == [thought]


async def test_bot_with_other_contexts_starts_without() -> None:
    """Nobody can say to which context the messages belong; the body has them all the same."""
    bot = Bot(kept=snapshot(SAID, [QUESTION]))
    await bot.run(LLMMessagesAppendFrame([GREET], run_llm=True))
    assert bot.model.asked == [[GREET]]
    assert bot.body["context"] == SAID


@pytest.mark.parametrize(
    "kept",
    [
        {"v": 2, "workers": {}},
        {"v": 1},
        {"workers": [{}]},
        {"v": 1, "workers": {NAME: 7}},
        {"v": 1, "workers": {NAME: [[{"role": "assistant", "tool_calls": 7}, {"role": "tool"}]]}},
    ],
)
async def test_snapshot_that_is_not_understood_is_ignored(kept: Any) -> None:
    bot = Bot(kept=kept)
    await bot.run(LLMMessagesAppendFrame([GREET], run_llm=True))
    assert bot.model.asked == [[GREET]]


async def test_bot_without_a_language_model_runs() -> None:
    bot = Bot(kept=snapshot(SAID))
    worker = PipelineWorker(Pipeline([FrameProcessor()]), name=NAME)
    bot.keeper.attach(worker)
    await bot.keeper.take()
    assert bot.sent == [{"v": 1, "workers": {}}]


async def test_what_does_not_fit_is_logged_once(lines: Lines) -> None:
    """The oldest messages go, and what JSON cannot hold."""
    long = {"role": "user", "content": "x" * CONTEXT_MAX_BYTES}
    bot = Bot(context=LLMContext([long, {"role": "user", "content": object()}]))
    greet = LLMMessagesAppendFrame([GREET], run_llm=True)
    await bot.run(greet, later=LLMMessagesAppendFrame([GREET], run_llm=True))
    assert bot.sent == [snapshot([GREET, HELLO]), snapshot([GREET, HELLO] * 2)]
    said = [line["meta"] for line in lines() if line["tag"] == "context"]
    assert said == [
        {"limit_bytes": CONTEXT_MAX_BYTES, "oldest_messages": 1, "media": 0, "not_json": 1}
    ]
