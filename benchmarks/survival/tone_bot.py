"""A bot that never pauses: a tone from the first moment on, and a history of when it is there."""

import asyncio
import json
import math
import os
import time
from array import array
from pathlib import Path
from typing import Any

from pipecat.frames.frames import (
    CancelFrame,
    ClientConnectedFrame,
    EndFrame,
    Frame,
    TTSAudioRawFrame,
    TTSStartedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.runner.types import RunnerArguments
from pipecat.workers.runner import WorkerRunner

from cordboard.bots.parrot_transport import is_phone_call, make_transport

HISTORY = Path(os.environ["SURVIVAL_HISTORY"])
TONE_HZ = 400  # whole periods fit into 20 ms, so that chunks join without a click
AMPLITUDE = 8000
AHEAD_S = 0.1
TICK_S = 0.02


class Tone(FrameProcessor):  # type: ignore[misc]  # Pipecat has no type hints
    """Plays the tone as soon as someone is connected."""

    def __init__(self, rate_hz: int) -> None:
        super().__init__()
        self._rate_hz = rate_hz
        wave = (math.sin(math.tau * TONE_HZ * at / rate_hz) for at in range(rate_hz // 50))
        self._chunk = array("h", (round(AMPLITUDE * value) for value in wave)).tobytes()
        self._sound: asyncio.Task[None] | None = None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, ClientConnectedFrame) and self._sound is None:
            self._sound = self.create_task(self._play())
        elif isinstance(frame, (EndFrame, CancelFrame)) and self._sound is not None:
            await self.cancel_task(self._sound)
        await self.push_frame(frame, direction)

    async def _play(self) -> None:
        await self.push_frame(TTSStartedFrame())
        began, pushed_s = time.monotonic(), 0.0
        while True:
            while pushed_s < time.monotonic() - began + AHEAD_S:
                await self.push_frame(
                    TTSAudioRawFrame(audio=self._chunk, sample_rate=self._rate_hz, num_channels=1)
                )
                pushed_s += 0.02
            await asyncio.sleep(0.01)


async def bot(args: RunnerArguments) -> None:
    writing = asyncio.create_task(write_history(args.body))
    rate_hz = 8_000 if is_phone_call(args) else 16_000
    transport = await make_transport(args, rate_hz)
    worker = PipelineWorker(
        Pipeline([transport.input(), Tone(rate_hz), transport.output()]),
        params=PipelineParams(audio_in_sample_rate=rate_hz, audio_out_sample_rate=rate_hz),
    )

    @transport.event_handler("on_client_disconnected")  # type: ignore[untyped-decorator]
    async def on_client_disconnected(_transport: Any, _client: Any) -> None:
        await worker.cancel(reason="the user has disconnected")

    runner = WorkerRunner(handle_sigint=args.handle_sigint)
    await runner.add_workers(worker)
    how = "cancelled"
    try:
        await runner.run()
        how = "finished"
    finally:
        writing.cancel()
        write(args.body, "exit", how=how)


async def write_history(body: dict[str, Any]) -> None:
    """Write down that this bot is in its room, as long as it is; `faults.history` judges it."""
    write(body, "enter")
    while True:
        write(body, "tick")
        await asyncio.sleep(TICK_S)


def write(body: dict[str, Any], kind: str, **more: Any) -> None:
    who = {"sid": body["session_id"], "room": body["room_url"], "epoch": body["epoch"]}
    who |= {"attempt": body["attempt"], "pid": os.getpid()}
    event = {"kind": kind, "at": time.clock_gettime(time.CLOCK_BOOTTIME), **who, **more}
    with HISTORY.open("ab", buffering=0) as file:
        file.write(json.dumps(event).encode() + b"\n")
