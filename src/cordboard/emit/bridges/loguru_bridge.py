"""Records of loguru, Pipecat's logger; they survive ``logger.remove()``.

Our handler is one of loguru's own kind, so that no text is formatted which nobody reads. It lives
in a table of handlers that shows it to whoever speaks and hides it from whoever removes. Sinks on
stdout or stderr are accepted and left unused: the record is on stdout already.
"""

import sys
from collections.abc import Iterator
from typing import Any, Final

from cordboard.contract.record import LEVELS, level_from_number
from cordboard.emit import render
from cordboard.emit.pipeline import pipeline

_tags: Final[dict[str | None, str]] = {}
_TAGS_MAX: Final = 1024


class PipelineHandler:
    """What loguru calls for each record; the interface is that of its own ``Handler``."""

    __slots__ = ("levelno",)

    def __init__(self, levelno: int) -> None:
        self.levelno = levelno

    def emit(self, record: dict[str, Any], *_: object) -> None:
        """Write one record; failures are told once, never raised."""
        try:
            write(record)
        except Exception as failure:  # noqa: BLE001 - logging never fails its caller
            pipeline.tell_failure(failure)

    def stop(self) -> None:
        """Do nothing: the pipeline ends with its process."""

    def complete_queue(self) -> None:
        """Do nothing: there is no queue here."""

    def tasks_to_complete(self) -> list[Any]:
        """Return no tasks."""
        return []

    def update_format(self, level_id: str) -> None:
        """Do nothing: there is no format."""


class _Handlers(dict[int, Any]):
    """loguru's table of handlers, with ours in it for good."""

    def __init__(self, bridge: PipelineHandler, others: dict[int, Any], unused: set[int]) -> None:
        super().__init__()
        self.bridge = bridge
        self.unused = unused
        for number, handler in others.items():
            self[number] = handler

    def __setitem__(self, number: int, handler: Any) -> None:
        if _is_console(handler):
            self.unused.add(number)
        else:
            super().__setitem__(number, handler)

    def __contains__(self, number: object) -> bool:
        return super().__contains__(number) or number in self.unused

    def __bool__(self) -> bool:
        return True

    def copy(self) -> "_Handlers":
        return _Handlers(self.bridge, dict(self.items()), self.unused)

    def values(self) -> Any:
        return (self.bridge, *super().values())

    def pop(self, number: int, *default: Any) -> Any:
        if number in self.unused:
            self.unused.discard(number)
            return self.bridge  # loguru stops it, which does nothing
        return super().pop(number, *default)

    def __iter__(self) -> Iterator[int]:
        return super().__iter__()


def _is_console(handler: Any) -> bool:
    stream = getattr(getattr(handler, "_sink", None), "_stream", None)
    return stream is not None and stream in {
        sys.stdout,
        sys.stderr,
        sys.__stdout__,
        sys.__stderr__,
    }


def install(threshold: int) -> None:
    """Take over all records of loguru from ``threshold`` on."""
    from loguru import logger

    core: Any = vars(logger)["_core"]  # there is no public way to stay after remove()
    if isinstance(core.handlers, _Handlers):
        core.handlers.bridge.levelno = threshold
    else:
        core.handlers = _Handlers(PipelineHandler(threshold), core.handlers, set())
    core.min_level = min(handler.levelno for handler in core.handlers.values())


def write(record: dict[str, Any]) -> None:
    """Write one record of loguru: extras become meta, its exception the error."""
    level = level_from_number(record["level"].no)
    if LEVELS[level] < pipeline.threshold:
        return
    name = record["name"]
    meta = {**record["extra"], "at": f"{name}:{record['function']}:{record['line']}"}
    caught = record["exception"]
    error = caught.value if caught else None
    tag_json = _tags.get(name) or _new_tag(name)
    pipeline.write(level, record["message"].rstrip("\n"), tag_json, None, meta, error)


def _new_tag(name: str | None) -> str:
    if len(_tags) >= _TAGS_MAX:
        _tags.clear()
    _tags[name] = render.tag_json((name or "loguru").partition(".")[0])
    return _tags[name]
