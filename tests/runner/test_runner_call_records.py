"""The records of a call: what Pipecat's observers see becomes lines, and a broken one costs its record alone."""

import asyncio
import sys
import time
from typing import Any

import pytest
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    ClientConnectedFrame,
    ErrorFrame,
    Frame,
    FunctionCallCancelFrame,
    FunctionCallFromLLM,
    FunctionCallInProgressFrame,
    FunctionCallResultFrame,
    FunctionCallsStartedFrame,
    InputAudioRawFrame,
    InterruptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    MetricsFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.metrics.metrics import (
    LLMTokenUsage,
    LLMUsageMetricsData,
    TTFBMetricsData,
    TTSUsageMetricsData,
)
from pipecat.observers.speaking_observer import SpeakingObserver
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.utils.errors import ErrorCategory

from cordboard.contract.call_events import CALL_META, CONTENT_META, ERROR_CATEGORIES, TOOL_STATUSES
from cordboard.runner.call_log import BURST, RATE_PER_S, REPORT_S
from cordboard.runner.record_options import RecordOptions
from lines_support import Lines, lines
from runner.records_support import Stage, run_call, setup_file

__all__ = ["lines", "setup_file"]

pytestmark = pytest.mark.usefixtures("setup_file")

AUDIO = {"audio": bytes(320), "sample_rate": 8000, "num_channels": 1}
NASTY = "<script>alert(1)</script>\x1b[31m\x00 sk-proj-abcdefghijklmnop1234 password=hunter2"
SECRETS = ("sk-proj-abcdefghijklmnop1234", "hunter2")


def records(lines: Lines, event: str) -> list[dict[str, Any]]:
    """The ``meta`` of the lines of an event; each has only members of the contract."""
    found = [line["meta"] for line in lines() if line.get("event") == event]
    for meta in found:
        assert set(meta) <= set(CALL_META[event]), meta
    return found


def tool_call(call_id: str, arguments: dict[str, Any] | None = None) -> tuple[Frame, Frame]:
    """The frames with which the call of a tool begins."""
    known = {"function_name": "find", "tool_call_id": call_id, "arguments": arguments or {}}
    return (
        FunctionCallsStartedFrame([FunctionCallFromLLM(**known, context=None)]),
        FunctionCallInProgressFrame(**known, cancel_on_interruption=True),
    )


def tool_result(call_id: str, result: Any = None, error: str | None = None) -> Frame:
    """The frame with which it ends."""
    return FunctionCallResultFrame(
        function_name="find", tool_call_id=call_id, arguments={}, result=result, error=error
    )


async def test_pipeline_measures_its_services_unless_the_setting_says_no() -> None:
    """The setup file is early enough: the frame that starts the processors has what it has set."""
    assert (await run_call()).params.enable_usage_metrics
    worker = await run_call(options=RecordOptions(measures=False))
    assert not worker.params.enable_metrics
    assert not worker.params.enable_usage_metrics

    class Asked(Stage):
        measures = False

        async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
            self.measures |= self.metrics_enabled and self.usage_metrics_enabled
            await super().process_frame(frame, direction)

    asked = Asked()
    await run_call(more=[asked])
    assert asked.measures


async def test_start_of_the_pipeline_is_recorded_once(lines: Lines) -> None:
    """The slowest processors are named; the parts sum up."""

    class Slow(Stage):
        async def setup(self, setup: Any) -> None:
            await super().setup(setup)
            await asyncio.sleep(0.05)

    await run_call(more=[Slow(name="Slow")])
    (started,) = records(lines, "pipeline.started")
    assert started["processors"][0]["name"] == "Slow"
    assert started["ms"] >= started["setup_ms"] >= 50
    assert abs(started["setup_ms"] + started["start_ms"] - started["ms"]) < 1


async def test_parts_of_a_turn_sum_up_and_a_greeting_is_no_answer(lines: Lines) -> None:
    """Pipecat reports a breakdown for the greeting as well; it is told apart, and is no latency of a user."""
    now = time.time()

    async def wait(_stage: Stage) -> None:
        await asyncio.sleep(0.03)

    await run_call(
        ClientConnectedFrame(),
        wait,
        BotStartedSpeakingFrame(),
        BotStoppedSpeakingFrame(),
        wait,
        VADUserStartedSpeakingFrame(start_secs=0.2, timestamp=now),
        UserStartedSpeakingFrame(),
        wait,
        VADUserStoppedSpeakingFrame(stop_secs=0.2),
        TranscriptionFrame("Hello", "user", "now"),
        UserStoppedSpeakingFrame(),
        LLMFullResponseStartFrame(),
        wait,
        MetricsFrame([TTFBMetricsData(processor="LLM#0", value=0.03)]),
        LLMTextFrame("Hi"),
        TTSAudioRawFrame(**AUDIO),
        wait,
        BotStartedSpeakingFrame(),
        wait,
        BotStoppedSpeakingFrame(),
        wait,
        UserStartedSpeakingFrame(),
        wait,
    )
    greeting, answer, silent = records(lines, "turn.ended")
    assert greeting["measured_from"] == "client_connected"
    assert "user_bot_latency_ms" not in greeting or greeting["user_bot_latency_ms"] is None
    assert answer["measured_from"] == "user_silence"
    assert answer["user_bot_latency_ms"] >= 200
    assert answer["ttfb_ms"] == {"LLM#0": 30}
    for turn in (greeting, answer):
        assert turn["outcome"] == "completed"
        assert round(sum(part["ms"] for part in turn["contributions"]), 1) == turn["total_ms"]
    assert {part["key"] for part in answer["contributions"]} >= {"endpointing_wait"}
    assert abs(answer["total_ms"] - answer["user_bot_latency_ms"]) < 50
    assert silent["outcome"] == "no_output"
    assert "contributions" not in silent


async def test_transcription_that_interrupts_is_a_part_of_its_turn(lines: Lines) -> None:
    """Pipecat ends a turn that it hears nothing of; the words that come then begin another one, and erase its parts."""

    async def wait(_stage: Stage) -> None:
        await asyncio.sleep(0.1)

    await run_call(
        ClientConnectedFrame(),
        BotStartedSpeakingFrame(),
        BotStoppedSpeakingFrame(),
        VADUserStartedSpeakingFrame(),
        UserStartedSpeakingFrame(),
        VADUserStoppedSpeakingFrame(stop_secs=0.2),
        wait,
        TranscriptionFrame("Hello", "user", "now"),
        InterruptionFrame(),
        LLMFullResponseStartFrame(),
        MetricsFrame([TTFBMetricsData(processor="LLM#0", value=0.03)]),
        LLMTextFrame("Hi"),
        TTSAudioRawFrame(**AUDIO),
        BotStartedSpeakingFrame(),
        BotStoppedSpeakingFrame(),
    )
    answer = records(lines, "turn.ended")[-1]
    assert answer["measured_from"] == "user_silence"
    parts = {part["key"]: part["ms"] for part in answer["contributions"]}
    assert parts["endpointing_wait"] == 200
    assert parts["transcription"] >= 100
    assert "first_request" not in parts
    assert abs(sum(parts.values()) - answer["user_bot_latency_ms"]) < 1
    assert abs(answer["total_ms"] - answer["user_bot_latency_ms"]) < 1


async def test_speech_has_the_time_of_the_speech(lines: Lines) -> None:
    """The detector hears the user late, and says how late."""
    began, ended = 1_800_000_000.5, 1_800_000_002.0
    await run_call(
        VADUserStartedSpeakingFrame(start_secs=0.2, timestamp=began + 0.2),
        VADUserStoppedSpeakingFrame(stop_secs=0.8, timestamp=ended + 0.8),
        BotStartedSpeakingFrame(),
    )
    (started, bot), (stopped,) = (
        records(lines, "speech.started"),
        records(lines, "speech.ended"),
    )
    assert started == {"who": "user", "at": "2027-01-15T08:00:00.500000Z"}
    assert stopped == {"who": "user", "at": "2027-01-15T08:00:02.000000Z", "ms": 1500}
    assert bot["who"] == "bot"


async def test_usage_has_what_applies(lines: Lines) -> None:
    """Each report is a record of its own; nothing is summed."""
    tokens = LLMTokenUsage(
        prompt_tokens=120, completion_tokens=8, total_tokens=128, cache_read_input_tokens=100
    )
    await run_call(
        MetricsFrame([LLMUsageMetricsData(processor="LLM#0", model="gpt", value=tokens)]),
        MetricsFrame([TTSUsageMetricsData(processor="TTS#0", value=42)]),
        MetricsFrame([TTSUsageMetricsData(processor="TTS#0", value=3)]),
    )
    assert records(lines, "service.usage") == [
        {
            "processor": "LLM#0",
            "model": "gpt",
            "prompt_tokens": 120,
            "completion_tokens": 8,
            "cache_read_tokens": 100,
        },
        {"processor": "TTS#0", "characters": 42},
        {"processor": "TTS#0", "characters": 3},
    ]


async def test_tools_end_in_four_ways(lines: Lines) -> None:
    """Completed, failed, too late, cancelled: each by the id of its call."""
    await run_call(
        *tool_call("a"),
        tool_result("a", {"temperature": 7}),
        *tool_call("b"),
        tool_result("b", error="no such place"),
        *tool_call("c"),
        FunctionCallCancelFrame(function_name="find", tool_call_id="c", run_llm=True),
        *tool_call("d"),
        FunctionCallCancelFrame(function_name="find", tool_call_id="d"),
    )
    started, ended = records(lines, "tool.started"), records(lines, "tool.ended")
    assert [meta["call_id"] for meta in started] == [*"abcd"]
    assert [meta["status"] for meta in ended] == [*TOOL_STATUSES]
    assert all(meta["name"] == "find" and meta["ms"] >= 0 for meta in ended)
    assert not any(CONTENT_META.keys() & meta.keys() for meta in (*started, *ended))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("AuthenticationError", "authentication"),
        ("PermissionDeniedError", "authentication"),
        ("RateLimitError", "rate_limit"),
        ("InternalServerError", "server"),
        ("APIConnectionError", "connection"),
        ("BadRequestError", "request"),
        ("ValueError", "other"),
    ],
)
async def test_raised_error_has_the_category_of_its_exception(
    lines: Lines, name: str, expected: str
) -> None:
    """Pipecat has no category for what a service raises while it processes a frame."""

    async def fail(stage: Stage) -> None:
        error = type(name, (Exception,), {})()
        await stage.push_error("My name is Ada", error, category=ErrorCategory.UNKNOWN)

    await run_call(fail)
    (failed,) = records(lines, "service.error")
    assert failed["category"] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Unknown error occurred: Error code: 401 - {'error': 1}", "authentication"),
        ("Unknown error occurred: Error code: 429 - {'error': 1}", "rate_limit"),
        ("server rejected WebSocket connection: HTTP 403", "authentication"),
        ("Stage error: Server error '503 Unavailable' for url 'https://a'", "server"),
        ("Error getting audio: 429, message='Too Many', url='https://a'", "rate_limit"),
        ("Error getting audio (status: 400, error: no voice)", "request"),
        ("Fal API error (402): no credit", "rate_limit"),
        ("Error code: 418 - {}", "other"),
        ("The user said: flight 401, gate 429", "other"),
        (f"Unknown error occurred: {'x' * 200} Error code: 401", "other"),
    ],
)
async def test_error_of_words_only_has_the_category_of_its_status(
    lines: Lines, text: str, expected: str
) -> None:
    """Most services of Pipecat report a text without an exception; SDKs name the status in it."""

    async def fail(stage: Stage) -> None:
        await stage.push_frame(ErrorFrame(error=text), FrameDirection.UPSTREAM)

    await run_call(fail)
    (failed,) = records(lines, "service.error")
    assert failed["category"] == expected
    assert "text" not in failed


@pytest.mark.parametrize(
    ("category", "exception", "expected"),
    [
        (ErrorCategory.AUTHENTICATION, None, "authentication"),
        (ErrorCategory.QUOTA, None, "rate_limit"),
        (ErrorCategory.CONNECTIVITY, TimeoutError(), "timeout"),
        (None, ConnectionRefusedError(), "connection"),
        (ErrorCategory.SERVER, None, "server"),
        (ErrorCategory.INVALID_REQUEST, None, "request"),
        (ErrorCategory.APPLICATION, None, "other"),
    ],
)
async def test_error_has_a_category_and_no_words(
    lines: Lines, category: ErrorCategory | None, exception: Exception | None, expected: str
) -> None:
    """An error that leaves the pipeline is not recovered; its text may hold what was said."""

    async def fail(stage: Stage) -> None:
        await stage.push_error("My name is Ada", exception, category=category)

    await run_call(fail)
    (failed,) = records(lines, "service.error")
    assert failed["category"] == expected
    assert expected in ERROR_CATEGORIES
    assert failed["processor"] == "Stage"
    assert failed["usable"] is not bool(category and category.is_permanent)
    assert failed["recovered"] is False
    assert "text" not in failed


async def test_error_that_the_pipeline_deals_with_is_recovered(lines: Lines) -> None:
    """A switch to another service stops the error on its way; the turn has not failed."""

    class Switch(Stage):
        async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
            if direction is FrameDirection.UPSTREAM and type(frame).__name__ == "ErrorFrame":
                return
            await super().process_frame(frame, direction)

    async def fail(stage: Stage) -> None:
        await stage.push_error("busy", category=ErrorCategory.RATE_LIMIT)
        await asyncio.sleep(0.05)

    await run_call(fail, before=[Switch()])
    (failed,) = records(lines, "service.error")
    assert failed["recovered"] is True
    assert failed["category"] == "rate_limit"
    assert records(lines, "turn.ended")[0]["outcome"] == "no_output"


class Model(FrameProcessor):  # type: ignore[misc]  # Pipecat has no type hints
    """A language model with one answer."""

    def __init__(self, answer: str) -> None:
        super().__init__()
        self._answer = answer

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        for one in (
            LLMFullResponseStartFrame(),
            LLMTextFrame(self._answer),
            LLMFullResponseEndFrame(),
        ):
            await self.push_frame(one)


@pytest.mark.parametrize("content", ["off", "words", "all"])
async def test_words_need_consent(lines: Lines, content: Any) -> None:
    """Without it no line has a word; with it markup and control bytes stay data, and secrets are redacted."""
    user, assistant = LLMContextAggregatorPair(LLMContext())

    async def converse(stage: Stage) -> None:
        for frame in (
            UserStartedSpeakingFrame(),
            TranscriptionFrame(f"heard {NASTY}", "user", "now"),
            UserStoppedSpeakingFrame(),
        ):
            await stage.push_frame(frame)
            await asyncio.sleep(0.05)
        await stage.push_error(f"mourned {NASTY}")
        for frame in (
            *tool_call("a", {"q": f"argued {NASTY}"}),
            tool_result("a", [f"got {NASTY}"]),
        ):
            await stage.push_frame(frame)
        await asyncio.sleep(0.3)

    await run_call(
        converse,
        options=RecordOptions(content),
        more=[user, Model(f"said {NASTY}"), assistant],
    )
    logged = [line for line in lines() if line["tag"] == "call"]
    text = str(logged)
    assert not any(secret in text for secret in SECRETS)
    assert ("heard" in text, "said" in text, "mourned" in text) == (content != "off",) * 3
    assert ("argued" in text, "got" in text) == (content == "all",) * 2
    if content != "off":
        (heard,) = records(lines, "turn.user_text")
        assert heard["text"].startswith("heard <script>alert(1)</script>\x1b[31m\x00 [redacted]")
        assert heard["turn"] == 1
        assert heard["interrupted"] is False
        said = records(lines, "turn.bot_text")[0]  # it answers to the result of the tool as well
        assert said["text"].startswith("said <script>")
        assert said["turn"] == 1
    if content == "all":
        assert records(lines, "tool.started")[0]["arguments"]["q"].startswith("argued <script>")
        assert records(lines, "tool.ended")[0]["result"][0].startswith("got <script>")


@pytest.mark.parametrize(
    ("module", "lost"),
    [
        ("service_metrics_observer", "service.usage"),
        ("speaking_observer", "speech.started"),
        ("function_call_observer", "tool.started"),
        ("error_observer", "service.error"),
        ("startup_timing_observer", "pipeline.started"),
    ],
)
async def test_pipecat_without_an_observer_loses_one_record(
    lines: Lines, monkeypatch: pytest.MonkeyPatch, module: str, lost: str
) -> None:
    """A module that this Pipecat does not have costs its record, and neither the others nor the call."""
    monkeypatch.setitem(sys.modules, f"pipecat.observers.{module}", None)

    async def fail(stage: Stage) -> None:
        await stage.push_error("busy")

    await run_call(
        MetricsFrame([TTSUsageMetricsData(processor="TTS#0", value=3)]),
        VADUserStartedSpeakingFrame(),
        *tool_call("a"),
        fail,
    )
    found = {line.get("event") for line in lines()}
    wanted = {
        "service.usage",
        "speech.started",
        "tool.started",
        "service.error",
        "pipeline.started",
    }
    assert wanted - found == {lost}
    assert "turn.ended" in found


async def test_observer_that_raises_loses_its_record(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One warning; the observer is not asked again, the others are, and the call goes on."""
    asked = []

    async def broken(_self: object, data: Any) -> None:
        asked.append(data)
        raise LookupError("broken")

    monkeypatch.setattr(SpeakingObserver, "on_push_frame", broken)
    await run_call(
        VADUserStartedSpeakingFrame(),
        VADUserStoppedSpeakingFrame(),
        MetricsFrame([TTSUsageMetricsData(processor="TTS#0", value=3)]),
    )
    (warning,) = [line for line in lines() if line["message"].startswith("An observer")]
    assert warning["meta"]["observer"] == "SpeakingObserver"
    assert warning["error"]["type"] == "LookupError"
    assert len(asked) == 1
    assert records(lines, "service.usage")
    assert records(lines, "turn.ended")


async def test_report_of_another_shape_loses_its_record(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later Pipecat may name a value otherwise: one warning, not one for each report."""
    monkeypatch.setattr(
        "pipecat.observers.service_metrics_observer.ServiceMetricsObserver._as_usage",
        lambda *_: object(),
    )
    usage = TTSUsageMetricsData(processor="TTS#0", value=3)
    await run_call(*(MetricsFrame([usage]) for _ in range(3)), VADUserStartedSpeakingFrame())
    assert len([line for line in lines() if line["message"].startswith("An observer")]) == 1
    assert records(lines, "speech.started")


async def test_flood_of_events_is_counted(lines: Lines) -> None:
    """A tool loop writes what a reader can use; one line says how many were left out, and of what."""
    call = FunctionCallFromLLM(function_name="find", tool_call_id="a", arguments={}, context=None)
    frames, calls_each = 4, 500

    began_at = time.monotonic()
    await run_call(*(FunctionCallsStartedFrame([call] * calls_each) for _ in range(frames)))
    took_s = time.monotonic() - began_at
    left_out = [line["meta"] for line in lines() if line["message"] == "Records were left out"]
    written = len(records(lines, "tool.started"))
    assert BURST <= written <= BURST + RATE_PER_S * took_s + 1
    counted = sum(meta["events"]["tool.started"] for meta in left_out)
    assert written + counted == frames * calls_each
    assert len(left_out) <= 2 + took_s / REPORT_S


async def test_sound_does_not_reach_the_observers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 50 frames a second only the first of the bot's speech tells anything."""
    seen: list[type] = []

    async def note(_self: object, data: Any) -> None:
        seen.append(type(data.frame))

    monkeypatch.setattr(SpeakingObserver, "on_push_frame", note)
    kinds = (InputAudioRawFrame, TTSAudioRawFrame)
    first, second = ([kind(**AUDIO) for kind in kinds for _ in range(20)] for _ in range(2))
    await run_call(*first, BotStartedSpeakingFrame(), *second)
    assert InputAudioRawFrame not in seen
    assert seen.count(TTSAudioRawFrame) == 2
    assert BotStartedSpeakingFrame in seen
