"""The events of a call that the observers of a bot's pipeline log."""

import asyncio

from pipecat.frames.frames import (
    ClientConnectedFrame,
    EndFrame,
    InputAudioRawFrame,
    TTSAudioRawFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.filters.identity_filter import IdentityFilter
from pipecat.workers.runner import WorkerRunner

from cordboard.runner.pipeline_observers import FirstEventObserver
from lines_support import Lines, lines
from tests_support import until

__all__ = ["lines"]

AUDIO = {"audio": bytes(320), "sample_rate": 8000, "num_channels": 1}
FIRSTS = ["user.connected", "user.first_audio", "bot.first_audio"]


async def test_first_events_are_logged_once_and_the_observer_leaves(lines: Lines) -> None:
    """A pipeline of Pipecat's own passes each kind of frame twice."""

    class Noted(FirstEventObserver):
        left = False

        async def cleanup(self) -> None:
            """Note the end of the observation; the end of the pipeline cleans it up, too."""
            await super().cleanup()
            self.left = True

    worker = PipelineWorker(Pipeline([IdentityFilter()]), enable_turn_tracking=False)
    observer = Noted(worker)
    worker.add_observer(observer)
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    for _ in range(2):
        await worker.queue_frame(ClientConnectedFrame())
        await worker.queue_frame(InputAudioRawFrame(**AUDIO))
    await until(lambda: len(events(lines)) == 2)
    assert not observer.left
    for _ in range(2):
        await worker.queue_frame(TTSAudioRawFrame(**AUDIO))
    await until(lambda: observer.left)
    assert not running.done()
    await worker.queue_frame(EndFrame())
    await running
    assert events(lines) == FIRSTS


def events(lines: Lines) -> list[str]:
    """The logged events of the call."""
    return [r["event"] for r in lines() if r.get("event") in FIRSTS]
