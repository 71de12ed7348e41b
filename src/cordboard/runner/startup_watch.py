"""The record of a pipeline's start. It needs frames that others do not, so it is an observer of its own, and leaves."""

from typing import Any, Final

from pipecat.frames.frames import StartFrame
from pipecat.observers.base_observer import FrameProcessed, FramePushed

from cordboard.runner.call_log import CallLog
from cordboard.runner.frame_dispatch import FrameDispatch, leave

STARTUP_TIMING: Final = "pipecat.observers.startup_timing_observer:StartupTimingObserver"
PROCESSORS_MAX: Final = 5
"""Processors that are named: the slowest ones."""
_NAMED_MS: Final = 1.0


class StartupWatch(FrameDispatch):
    """Gives Pipecat's observer of the start what it needs, until the pipeline runs.

    Args:
        worker: The worker of the pipeline.
        call_log: Where the record goes.
    """

    def __init__(self, worker: Any, call_log: CallLog) -> None:
        super().__init__(observe_every_push=True)
        self._worker = worker
        self._log = call_log
        self.add(STARTUP_TIMING, {"on_startup_timing_report": self._on_report})

    async def on_processor_setup(self, data: Any) -> None:
        """Pass on how long a processor took."""
        await self.each(lambda timing: timing.on_processor_setup(data))

    async def on_process_frame(self, data: FrameProcessed) -> None:
        """Pass on that the first frame has reached a processor."""
        if type(data.frame) is StartFrame:
            await self.each(lambda timing: timing.on_process_frame(data))

    async def on_push_frame(self, data: FramePushed) -> None:
        """Pass on that the first frame has left a processor."""
        if type(data.frame) is StartFrame:
            await self.each(lambda timing: timing.on_push_frame(data))

    async def on_pipeline_started(self) -> None:
        """Let the observer report, and leave: its task would be woken by every frame of the call."""
        await super().on_pipeline_started()
        await leave(self._worker, self)

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
