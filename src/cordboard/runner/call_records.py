"""Attaches what writes the records of a call to a bot's pipeline.

Pipecat's observers are imported one by one: if a later Pipecat lacks one, a record is missing, and the call goes on.
"""

from typing import Any, Final

from pipecat.frames.frames import BotStartedSpeakingFrame, ErrorFrame
from pipecat.observers.base_observer import FramePushed

from cordboard.emit import get_logger
from cordboard.runner import record_options
from cordboard.runner.call_log import CallLog
from cordboard.runner.frame_dispatch import FrameDispatch, load_observer
from cordboard.runner.record_options import RecordOptions
from cordboard.runner.service_records import ErrorRecords, ServiceRecords
from cordboard.runner.startup_watch import STARTUP_TIMING, StartupWatch
from cordboard.runner.turn_log import TurnLog, WordLog

SERVICE_METRICS: Final = "pipecat.observers.service_metrics_observer:ServiceMetricsObserver"
SPEAKING: Final = "pipecat.observers.speaking_observer:SpeakingObserver"
FUNCTION_CALLS: Final = "pipecat.observers.function_call_observer:FunctionCallObserver"
ERRORS: Final = "pipecat.observers.error_observer:ErrorObserver"
LATENCY: Final = "pipecat.observers.user_bot_latency_observer:UserBotLatencyObserver"

log = get_logger("call")


class CallRecords(FrameDispatch):
    """Writes the records of one pipeline.

    Args:
        options: What the records may contain.
    """

    def __init__(self, options: RecordOptions) -> None:
        super().__init__()
        self.log = CallLog(options.content)
        self.turns = TurnLog(self.log)
        self.errors = ErrorRecords(self.log, self.turns)
        services = ServiceRecords(self.log)
        with_content = self.log.may_log("all")
        self.add(
            LATENCY,
            {
                "on_latency_measured": self.turns.on_latency_measured,
                "on_latency_breakdown": self.turns.on_latency_breakdown,
            },
        )
        self.add(SERVICE_METRICS, {"on_service_usage": services.on_usage})
        self.add(SPEAKING, {"on_speech_event": services.on_speech})
        self.add(ERRORS, {"on_error": self.errors.on_error})
        self.add(
            FUNCTION_CALLS,
            {"on_function_call_event": services.on_tool},
            include_arguments=with_content,
            include_results=with_content,
        )

    def on_frame(self, data: FramePushed) -> None:
        """Take note of errors, of speech, and of what is done with it."""
        frame = data.frame
        self.turns.listening.note(frame, data.source)
        if isinstance(frame, ErrorFrame):
            self.errors.note(frame.id)
        elif isinstance(frame, BotStartedSpeakingFrame):
            self.turns.has_bot_spoken = True

    async def cleanup(self) -> None:
        """Write what still waits."""
        await super().cleanup()
        self.errors.flush()
        self.log.report_left_out()


def attach(worker: Any) -> None:
    """Write the records of the pipeline of `worker`, which is about to start. Never raise."""
    options = record_options.OPTIONS
    try:
        if options.measures:
            worker.params.enable_metrics = worker.params.enable_usage_metrics = True
        records = CallRecords(options)
        if worker.turn_tracking_observer is not None:
            records.turns.attach(worker.turn_tracking_observer)
        if records.log.may_log("words"):
            WordLog(records.log, records.turns).attach(worker)
        worker.add_event_handler("on_pipeline_error", records.errors.on_pipeline_error)
        worker.add_observer(records)
        worker.add_observer(StartupWatch(worker, records.log))
    except Exception as error:  # noqa: BLE001 - a record must not cost the call
        log.warning("The records of the call are missing", error=error)


# In the fork server, so that no bot process imports them.
for _name in (SERVICE_METRICS, SPEAKING, FUNCTION_CALLS, ERRORS, LATENCY, STARTUP_TIMING):
    load_observer(_name)
