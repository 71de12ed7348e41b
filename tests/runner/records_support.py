"""A pipeline of Pipecat's own with our setup file, and a processor that pushes what a test wants."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from pipecat.frames.frames import EndFrame, Frame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.utils import startup
from pipecat.workers.runner import WorkerRunner

from cordboard.runner import pipeline_observers, record_options
from cordboard.runner.record_options import RecordOptions, use_options

SETUP_FILE = Path(pipeline_observers.__file__)


class Stage(FrameProcessor):  # type: ignore[misc]  # Pipecat has no type hints
    """Passes each frame on, and pushes frames of a test's own."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)


Step: TypeAlias = Frame | Callable[[Stage], Awaitable[Any]]


@pytest.fixture
def setup_file(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let Pipecat load our setup file, as in a bot process."""
    monkeypatch.setenv("PIPECAT_SETUP_FILES", str(SETUP_FILE))
    before = record_options.OPTIONS
    yield
    use_options(before)
    startup._module_cache.clear()


async def run_call(
    *steps: Step,
    options: RecordOptions | None = None,
    more: Sequence[FrameProcessor] = (),
    before: Sequence[FrameProcessor] = (),
) -> PipelineWorker:
    """Run a pipeline to its end: a frame is pushed by the stage, a function gets the stage."""
    use_options(options or RecordOptions())
    stage = Stage(name="Stage")
    worker = PipelineWorker(Pipeline([*before, stage, *more]))
    started = asyncio.Event()

    @worker.event_handler("on_pipeline_started")  # type: ignore[untyped-decorator]
    async def on_started(_worker: object, _frame: object) -> None:
        started.set()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    await asyncio.wait_for(started.wait(), 20)
    for step in steps:
        await (stage.push_frame(step) if isinstance(step, Frame) else step(stage))
        await asyncio.sleep(0)
    await worker.queue_frame(EndFrame())
    await asyncio.wait_for(running, 60)
    return worker
