"""Log the events of a call, and keep its contexts, for the pipeline of any bot. Pipecat loads this file as a setup file.

``PIPECAT_SETUP_FILES`` names this file in each bot process. Pipecat calls ``setup_pipeline_worker`` before a
pipeline starts.
"""

from typing import Any, Final

from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    ClientConnectedFrame,
    Frame,
    InputAudioRawFrame,
    OutputAudioRawFrame,
)
from pipecat.observers.base_observer import BaseObserver, FramePushed

from cordboard.emit import get_logger
from cordboard.runner import call_records, context_keeper
from cordboard.runner.frame_dispatch import leave

log = get_logger("call")

_FAMILIES: Final = {InputAudioRawFrame, ClientConnectedFrame, OutputAudioRawFrame}
"""The frames whose first one is logged."""


class FirstEventObserver(BaseObserver):  # type: ignore[misc]  # Pipecat has no type hints
    """Logs the first of each: the user's connection, the user's audio, the bot's audio.

    Then it removes itself: of a bot's processor time on a telephone call, an observer takes 5 %.

    Args:
        worker: The worker of the pipeline.
    """

    def __init__(self, worker: Any) -> None:
        super().__init__(observe_every_push=False)
        self._worker = worker
        self._seen: set[type] = set()

    async def on_push_frame(self, data: FramePushed) -> None:
        """Log the frame in `data` if it is the first of its kind that the call has."""
        frame_type = type(data.frame)
        # Almost every frame is of a type seen before: 50 audio frames a second pass here in each direction.
        if frame_type in self._seen:
            return
        first = _first_of(data.frame)
        if first is not None and self._log_first(frame_type, *first):
            await leave(self._worker, self)

    def _log_first(self, frame_type: type, family: type, message: str, event: str) -> bool:
        """Log an event if it is the first of its family; return whether all families have been seen."""
        is_first = family not in self._seen
        self._seen |= {family, frame_type}
        if is_first:
            log.info(message, event=event)
        return self._seen >= _FAMILIES


def _first_of(frame: Frame) -> tuple[type, str, str] | None:
    """Return the family of a frame, and the message and event of the first one; None for other frames."""
    if isinstance(frame, InputAudioRawFrame):
        return InputAudioRawFrame, "First audio of the user", "user.first_audio"
    if type(frame) is ClientConnectedFrame:
        return ClientConnectedFrame, "User connected", "user.connected"
    if isinstance(frame, (BotStartedSpeakingFrame, OutputAudioRawFrame)):
        return OutputAudioRawFrame, "First audio of the bot", "bot.first_audio"
    return None


async def setup_pipeline_worker(worker: Any) -> None:
    """Add the observers to the pipeline of `worker`, and let its conversation go on."""
    for part in (_keep_contexts, _log_first_events, call_records.attach):
        try:
            part(worker)
        except Exception as error:  # noqa: BLE001 - one part must not cost the others, or the call
            log.warning("A part of the pipeline's records is missing", error=error)


def _keep_contexts(worker: Any) -> None:
    if context_keeper.KEEPER is not None:
        context_keeper.KEEPER.attach(worker)


def _log_first_events(worker: Any) -> None:
    worker.add_observer(FirstEventObserver(worker))


async def setup_worker_runner(_runner: Any) -> None:
    """Do nothing: Pipecat warns about setup files without this function."""
