"""The records of a call: processor time of one record, of an audio frame that passes, and of a call's turns."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

from _table import median, show
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    Frame,
    InputAudioRawFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    MetricsFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.metrics.metrics import TTFBMetricsData, TTSUsageMetricsData
from pipecat.observers.base_observer import FramePushed
from pipecat.processors.filters.identity_filter import IdentityFilter
from pipecat.processors.frame_processor import FrameDirection

from cordboard import emit
from cordboard.runner.call_log import BURST, RATE_PER_S, CallLog
from cordboard.runner.call_records import CallRecords
from cordboard.runner.record_options import RecordOptions

ROUNDS = 7
TURNS_PER_MINUTE = 4


def main() -> None:
    emit.configure("bench", fd=os.open(os.devnull, os.O_WRONLY), format="json")
    asyncio.run(_measure())


async def _measure() -> None:
    steps = iter(range(10**9))
    # A clock of its own: the limit of the rate lets each record pass.
    call_log = CallLog("off", clock=lambda: next(steps) / RATE_PER_S + BURST)
    stage = IdentityFilter()
    records = CallRecords(RecordOptions())
    records.log._clock = lambda: next(steps) / RATE_PER_S + BURST  # noqa: SLF001 - as above

    async def record() -> None:
        call_log.write("Service used", "service.usage", processor="LLM#0", characters=42)

    def passed(frame: Frame) -> FramePushed:
        return FramePushed(stage, stage, frame, FrameDirection.DOWNSTREAM, 0)

    sound = passed(InputAudioRawFrame(audio=bytes(640), sample_rate=16_000, num_channels=1))
    turn = [passed(frame) for frame in _turn()]

    async def take_turn() -> None:
        for data in turn:
            await records.on_push_frame(data)

    record_us = await _cost_us(record, 5_000)
    frame_us = await _cost_us(lambda: records.on_push_frame(sound), 20_000)
    turn_us = await _cost_us(take_turn, 200)
    share = (turn_us * TURNS_PER_MINUTE / 60 + frame_us * 100) / 1e6 * 100
    show(
        "the records of a call (goals: about 5 us a record, under 1 % of a core)",
        ("", "processor time"),
        [
            ("one record, us", record_us),
            ("one audio frame, us", frame_us),
            ("one turn with its records, us", turn_us),
            (
                f"{TURNS_PER_MINUTE} turns a minute, 100 audio frames a second, % of a core",
                f"{share:.3f}",
            ),
        ],
    )


def _turn() -> list[Frame]:
    """Return the frames of one turn that matter, with 40 pieces of text."""
    return [
        VADUserStartedSpeakingFrame(),
        VADUserStoppedSpeakingFrame(stop_secs=0.2),
        TranscriptionFrame("Hello", "user", "now"),
        LLMFullResponseStartFrame(),
        MetricsFrame([TTFBMetricsData(processor="LLM#0", value=0.3)]),
        *(LLMTextFrame("word ") for _ in range(40)),
        MetricsFrame([TTSUsageMetricsData(processor="TTS#0", value=200)]),
        BotStartedSpeakingFrame(),
        BotStoppedSpeakingFrame(),
    ]


async def _cost_us(work: Callable[[], Awaitable[Any]], count: int) -> float:
    costs = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(count):
            await work()
        costs.append((time.process_time() - began) / count * 1e6)
        emit.flush()
    return median(costs)


if __name__ == "__main__":
    main()
