"""Gives Pipecat's observers the frames that matter to them, and goes on without one that fails.

Pipecat runs each observer in a task of its own, which every frame wakes: 50 audio frames a second in each direction.
One observer that passes a few frames on costs as much as one, not as six. An observer that raises in a task of its own
would also leave a queue that nobody empties.
"""

import importlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

from pipecat.frames.frames import (
    BotSpeakingFrame,
    InputAudioRawFrame,
    OutputAudioRawFrame,
    TTSAudioRawFrame,
    UserSpeakingFrame,
)
from pipecat.observers.base_observer import BaseObserver, FramePushed

from cordboard.emit import get_logger
from cordboard.runner.sound_levels import LEVELS

_MEDIA: Final = (InputAudioRawFrame, OutputAudioRawFrame, BotSpeakingFrame, UserSpeakingFrame)

log = get_logger("call")

Handler = Callable[..., Awaitable[None]]


def load_observer(name: str) -> Any:
    """Return an observer's class; None if this Pipecat does not have it.

    Args:
        name: ``MODULE:CLASS``.
    """
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:  # noqa: BLE001 - whatever the import of another version raises
        log.info(
            "This Pipecat has no such observer; its records are missing",
            observer=attribute,
            why=repr(error),
        )
        return None


async def leave(worker: Any, observer: BaseObserver) -> None:
    """Remove an observer from the pipeline of `worker`. If that fails, it stays, and the call goes on."""
    try:
        await worker.remove_observer(observer)
    except Exception as error:  # noqa: BLE001 - whatever another version raises
        log.warning(
            "An observer of the pipeline cannot leave it",
            observer=type(observer).__name__,
            error=error,
        )


class _Direct:
    """Calls handlers at once. Pipecat makes a task for each call, and searches all open ones when one ends."""

    def _register_event_handler(self, event_name: str, **_options: Any) -> None:
        super()._register_event_handler(event_name, sync=True)  # type: ignore[misc]


class FrameDispatch(BaseObserver):  # type: ignore[misc]  # Pipecat has no type hints
    """Passes frames to observers that are its own.

    Args:
        observe_every_push: Whether a frame comes again from each processor that passes it on.
    """

    def __init__(self, *, observe_every_push: bool = False) -> None:
        super().__init__(observe_every_push=observe_every_push)
        self._observers: dict[str, Any] = {}
        self._takes_notes = True
        self._is_media: dict[type, bool] = {}
        self._has_passed_speech = False

    def add(self, name: str, handlers: dict[str, Handler], **options: Any) -> None:
        """Add an observer, unless this Pipecat does not have it or has another one by its name.

        Args:
            name: Its class, as ``MODULE:CLASS``.
            handlers: What is called with its events, by the event's name.
            **options: What its class takes.
        """
        kind = load_observer(name)
        if kind is None:
            return
        try:
            observer = type(kind.__name__, (_Direct, kind), {})(**options)
            for event, handler in handlers.items():
                observer.add_event_handler(event, self._guarded(name, handler))
        except Exception as error:  # noqa: BLE001 - a record must not cost the call
            self._drop(name, error)
        else:
            self._observers[name] = observer

    async def setup(self, task_manager: Any) -> None:
        """Set the observers up."""
        await super().setup(task_manager)
        await self.each(lambda observer: observer.setup(task_manager))

    async def cleanup(self) -> None:
        """Clean the observers up."""
        await super().cleanup()
        await self.each(lambda observer: observer.cleanup())

    async def on_pipeline_started(self) -> None:
        """Tell the observers that the pipeline runs."""
        await self.each(lambda observer: observer.on_pipeline_started())

    async def on_push_frame(self, data: FramePushed) -> None:
        """Pass a frame on, unless it is one of many that hold sound."""
        kind = type(data.frame)
        is_media = self._is_media.get(kind)
        if is_media is None:
            is_media = self._is_media[kind] = issubclass(kind, _MEDIA)
        if is_media:
            if LEVELS.wanted:
                _measure(data.frame)
            # A latency ends with the first speech; what follows until another frame tells nothing.
            if self._has_passed_speech or not issubclass(kind, TTSAudioRawFrame):
                return
            self._has_passed_speech = True
        else:
            self._has_passed_speech = False
        if self._takes_notes:
            self._note(data)
        await self.each(lambda observer: observer.on_push_frame(data))

    def on_frame(self, data: FramePushed) -> None:
        """Take note of a frame before the observers get it."""

    def _note(self, data: FramePushed) -> None:
        try:
            self.on_frame(data)
        except Exception as error:  # noqa: BLE001 - a record must not cost the call
            self._takes_notes = False
            self._drop(f":{type(self).__name__}", error)

    async def each(self, call: Callable[[Any], Awaitable[None]]) -> None:
        """Call each observer, and go on without those that raise."""
        for name, observer in [*self._observers.items()]:
            try:
                await call(observer)
            except Exception as error:  # noqa: BLE001 - a record must not cost the call
                self._drop(name, error)

    def _guarded(self, name: str, handler: Handler) -> Handler:
        async def call(*arguments: Any) -> None:
            if name not in self._observers:
                return
            try:
                await handler(*arguments)
            except Exception as error:  # noqa: BLE001 - a record must not cost the call
                self._drop(name, error)

        return call

    def _drop(self, name: str, error: Exception) -> None:
        """Go on without an observer; say so once."""
        self._observers.pop(name, None)
        log.warning(
            "An observer of the pipeline failed; its records are missing from here on",
            observer=name.partition(":")[2],
            error=error,
        )


def _measure(frame: Any) -> None:
    """Measure the sound of a frame, if that of its direction is wanted."""
    direction = "level_in" if isinstance(frame, InputAudioRawFrame) else "level_out"
    if direction in LEVELS.wanted and hasattr(frame, "audio"):
        LEVELS.measure(direction, frame.audio)
