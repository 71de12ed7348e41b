"""The record of a pipeline's start. It needs frames that others do not, so it is an observer of its own, and leaves."""

from typing import Any, Final

from pipecat.frames.frames import StartFrame
from pipecat.observers.base_observer import BaseObserver, FrameProcessed, FramePushed

from cordboard.runner.call_log import CallLog

STARTUP_TIMING: Final = "pipecat.observers.startup_timing_observer:StartupTimingObserver"
PROCESSORS_MAX: Final = 5
"""Processors that are named: the slowest ones."""
_NAMED_MS: Final = 1.0


class StartupWatch(BaseObserver):  # type: ignore[misc]  # Pipecat has no type hints
    """Gives Pipecat's observer of the start what it needs, until the pipeline runs.

    Args:
        worker: The worker of the pipeline.
        timing: Pipecat's observer.
        call_log: Where the record goes.
    """

    def __init__(self, worker: Any, timing: Any, call_log: CallLog) -> None:
        super().__init__()
        self._worker = worker
        self._timing = timing
        self._log = call_log
        timing.add_event_handler("on_startup_timing_report", self._on_report)

    async def setup(self, task_manager: Any) -> None:
        """Begin to measure."""
        await super().setup(task_manager)
        await self._timing.setup(task_manager)

    async def cleanup(self) -> None:
        """Clean the observer up."""
        await super().cleanup()
        await self._timing.cleanup()

    async def on_processor_setup(self, data: Any) -> None:
        """Pass on how long a processor took."""
        await self._timing.on_processor_setup(data)

    async def on_process_frame(self, data: FrameProcessed) -> None:
        """Pass on that the first frame has reached a processor."""
        if type(data.frame) is StartFrame:
            await self._timing.on_process_frame(data)

    async def on_push_frame(self, data: FramePushed) -> None:
        """Pass on that the first frame has left a processor."""
        if type(data.frame) is StartFrame:
            await self._timing.on_push_frame(data)

    async def on_pipeline_started(self) -> None:
        """Let the observer report, and leave: its task would be woken by every frame of the call."""
        await self._timing.on_pipeline_started()
        await self._worker.remove_observer(self)

    async def _on_report(self, _timing: Any, report: Any) -> None:
        slowest = sorted(report.processor_timings, key=lambda one: -one.duration_secs)
        processors = [
            {"name": one.processor_name, "ms": ms}
            for one in slowest[:PROCESSORS_MAX]
            if (ms := _ms(one.duration_secs)) >= _NAMED_MS
        ]
        self._log.write(
            "Pipeline started",
            "pipeline.started",
            ms=_ms(report.total_duration_secs),
            setup_ms=_ms(report.setup_phase_secs),
            start_ms=_ms(report.start_phase_secs),
            processors=processors,
        )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
