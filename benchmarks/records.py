"""The records of a call: processor time of one record, of what passes the observers, of the media's figures, and of all.

Everything that a bot's process does for its records in a call is in the share of a core; the pipeline's start is once
in a call, and is given by itself.
"""

import asyncio
import itertools
import os
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

from _table import median, show
from aiortc import RTCPeerConnection
from aiortc.mediastreams import AudioStreamTrack
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    Frame,
    InputAudioRawFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    MetricsFrame,
    StartFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.metrics.metrics import TTFBMetricsData, TTSUsageMetricsData
from pipecat.observers.base_observer import FrameProcessed, FramePushed, ProcessorSetUp
from pipecat.pipeline.worker_observer import WorkerObserver
from pipecat.processors.filters.identity_filter import IdentityFilter
from pipecat.processors.frame_processor import FrameDirection
from pipecat.utils.asyncio.task_manager import TaskManager

from cordboard import emit
from cordboard.contract.media_quality import SAMPLE_S, STATS_S
from cordboard.media_watch import MediaWatch
from cordboard.runner.call_log import BURST, RATE_PER_S, CallLog
from cordboard.runner.call_records import CallRecords
from cordboard.runner.record_options import RecordOptions
from cordboard.runner.sound_levels import SoundLevels
from cordboard.runner.startup_watch import StartupWatch

ROUNDS = 7
TURNS_PER_MINUTE = 4
FRAMES_PER_S = 100
"""Of sound, in both directions."""
PROCESSORS = 10
"""Of the pipeline that starts."""
MEDIA = {
    "packets_sent": 50,
    "packets_received": 50,
    "packets_lost": 0,
    "jitter_ms": 1.2,
    "rtt_ms": 20.4,
    "level_in": 0.31,
    "level_out": 0.27,
    "path": "host",
}
"""A sample."""
MEDIA_S = 6.0
"""Until the reports of RTCP have arrived."""


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

    numbers = itertools.count()

    async def take_turn() -> None:
        number = next(numbers)
        await records.turns.on_turn_started(None, number)
        for data in turn:
            await records.on_push_frame(data)
        await records.turns.on_turn_ended(None, number, 2.0, interrupted=False)

    levels = SoundLevels()

    async def measure_level() -> None:
        levels.measure("level_in", sound.frame.audio)

    record_us = await _cost_us(record, 5_000)
    frame_us = await _frame_cost_us(records, stage)
    turn_us = await _cost_us(take_turn, 200)
    level_us = await _cost_us(measure_level, 20_000)
    sample_us, stats_us = await _media_costs_us(call_log, levels)
    start_us = await _cost_us(lambda: _start(call_log, stage), 200)
    per_s_us = (
        turn_us * TURNS_PER_MINUTE / 60
        + frame_us * FRAMES_PER_S
        + (sample_us + 2 * level_us) / SAMPLE_S
        + stats_us / STATS_S
    )
    share = per_s_us / 1e6 * 100
    show(
        "the records of a call (goals: about 5 us a record, under 1 % of a core)",
        ("", "processor time"),
        [
            ("one record, us", record_us),
            ("one audio frame, us", frame_us),
            ("one turn with its records, us", turn_us),
            ("the level of one frame, us", level_us),
            ("one sample of the media (getStats), us", sample_us),
            ("one record of the media, us", stats_us),
            (f"the start of a pipeline of {PROCESSORS} processors, once, us", start_us),
            (f"all of a call, with {TURNS_PER_MINUTE} turns a minute, % of a core", f"{share:.3f}"),
        ],
    )


async def _frame_cost_us(records: CallRecords, stage: IdentityFilter) -> float:
    """Return what a frame of sound costs with Pipecat's queue and task of the observer, which it wakes."""
    count = 5_000
    observer = WorkerObserver(observers=[records])
    await observer.setup(TaskManager())
    # Pipecat passes only the first push of a frame on, so each is another one; they are made before.
    frames = (
        FramePushed(stage, stage, frame, FrameDirection.DOWNSTREAM, 0)
        for frame in [
            InputAudioRawFrame(audio=bytes(640), sample_rate=16_000, num_channels=1)
            for _ in range(count * ROUNDS)
        ]
    )

    async def pass_frame() -> None:
        await observer.on_push_frame(next(frames))
        await asyncio.sleep(0)  # the task takes it

    cost_us = await _cost_us(pass_frame, count)
    await observer.cleanup()
    return cost_us


async def _media_costs_us(call_log: CallLog, levels: SoundLevels) -> tuple[float, float]:
    """Return what a sample and a record of the media cost, of a connection with sound in both directions."""
    caller, bot = RTCPeerConnection(), RTCPeerConnection()
    for connection in (caller, bot):
        connection.addTrack(AudioStreamTrack())
    await caller.setLocalDescription(await caller.createOffer())
    await bot.setRemoteDescription(caller.localDescription)
    await bot.setLocalDescription(await bot.createAnswer())
    await caller.setRemoteDescription(bot.localDescription)
    await asyncio.sleep(MEDIA_S)
    watch = MediaWatch(lambda: bot, "bot", call_log.write, levels.take)
    times = itertools.count(time.monotonic() + STATS_S, STATS_S)

    async def write_stats() -> None:
        watch._interval.add(MEDIA)  # noqa: SLF001 - what a sample adds
        watch._write_stats_if_due(next(times))  # noqa: SLF001 - what `run` does after each sample

    try:
        sample_us = await _cost_us(watch._sample, 500)  # noqa: SLF001 - as above
        return sample_us, await _cost_us(write_stats, 500)
    finally:
        for connection in (caller, bot):
            await connection.close()


async def _start(call_log: CallLog, stage: IdentityFilter) -> None:
    """Do what the start of a pipeline is told of, and write its record."""

    async def remove(observer: StartupWatch) -> None:
        await observer.cleanup()

    watch = StartupWatch(SimpleNamespace(remove_observer=remove), call_log)
    await watch.setup(None)
    frame = StartFrame()
    down = FrameDirection.DOWNSTREAM
    for number in range(PROCESSORS):
        await watch.on_processor_setup(ProcessorSetUp(stage, number, number + 2_000_000))
        await watch.on_process_frame(FrameProcessed(stage, frame, down, number))
        await watch.on_push_frame(FramePushed(stage, stage, frame, down, number + 1))
    await watch.on_pipeline_started()


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
