"""Records of loguru, Pipecat's logger; the bridge survives ``logger.remove()``.

A sink that is added with ``logger.add`` would be removed by that call, and would get text that
loguru formats in vain. So the bridge replaces loguru's table of handlers, which is private: the new
table contains a handler for the pipeline that is called for each record and that ``remove`` does
not see. Sinks on stdout or stderr are accepted and not used, because the record is on stdout
already.

``tests/emit/test_emit_bridges.py`` names the versions of loguru whose table has this form. With
another form ``install`` fails, which is logged once, and loguru works without the bridge.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from cordboard.contract.record import LEVELS, level_from_number
from cordboard.emit import render
from cordboard.emit.pipeline import pipeline

_tags: Final[dict[str | None, str]] = {}
# Modules whose tag is kept encoded.
_TAGS_MAX: Final = 1024


class PipelineHandler:
    """A handler with the interface of loguru's own ``Handler``, which writes to the pipeline.

    Args:
        levelno: The number of the lowest level that loguru passes on.
    """

    __slots__ = ("levelno",)

    def __init__(self, levelno: int) -> None:
        self.levelno = levelno

    def emit(self, record: dict[str, Any], *_: object) -> None:
        """Write `record`. A failure is logged once, and never raised."""
        try:
            write(record)
        except Exception as failure:
            pipeline.log_failure(failure)

    def stop(self) -> None:
        """Do nothing: the pipeline ends with its process."""

    def complete_queue(self) -> None:
        """Do nothing: the handler has no queue."""

    def tasks_to_complete(self) -> list[Any]:
        """Return no tasks."""
        return []

    def update_format(self, level_id: str) -> None:
        """Do nothing, whatever `level_id` is: the handler has no format."""


class HandlerTable(dict[int, Any]):
    """loguru's table of handlers by number, with the handler of the bridge as a hidden entry.

    loguru copies the table before each change, iterates over ``values()`` for each record, and over
    the keys to remove all handlers.

    Args:
        bridge: The hidden handler.
        handlers: The visible entries.
        unused: The numbers of handlers that were accepted and are not used.
    """

    def __init__(self, bridge: PipelineHandler, handlers: dict[int, Any], unused: set[int]) -> None:
        super().__init__()
        self.bridge = bridge
        self.unused = unused
        for number, handler in handlers.items():
            self[number] = handler

    def __setitem__(self, number: int, handler: Any) -> None:
        if _is_console(handler):
            self.unused.add(number)
        else:
            super().__setitem__(number, handler)

    def __contains__(self, number: object) -> bool:
        return super().__contains__(number) or number in self.unused

    def __bool__(self) -> bool:
        return True  # loguru skips records if there is no handler

    def copy(self) -> "HandlerTable":
        """Return a copy of the visible entries with the same hidden handler."""
        return HandlerTable(self.bridge, dict(self.items()), self.unused)

    def values(self) -> Any:
        """Return the hidden handler and the visible ones."""
        return (self.bridge, *super().values())

    def pop(self, number: int, *default: Any) -> Any:
        """Remove and return the handler `number`.

        Args:
            number: What ``logger.add`` has returned.
            *default: Returned if there is no such handler.
        """
        if number in self.unused:
            self.unused.discard(number)
            return self.bridge  # loguru stops the handler that it gets, which does nothing here
        return super().pop(number, *default)


def _is_console(handler: Any) -> bool:
    stream = getattr(getattr(handler, "_sink", None), "_stream", None)
    return stream is not None and stream in {
        sys.stdout,
        sys.stderr,
        sys.__stdout__,
        sys.__stderr__,
    }


def install(threshold: int) -> None:
    """Write all records of loguru through the pipeline.

    Args:
        threshold: The number of the lowest level.
    """
    from loguru import logger

    core: Any = vars(logger)["_core"]
    if isinstance(core.handlers, HandlerTable):
        core.handlers.bridge.levelno = threshold
    else:
        core.handlers = HandlerTable(PipelineHandler(threshold), core.handlers, set())
    core.min_level = min(handler.levelno for handler in core.handlers.values())


@contextmanager
def unchanged() -> Iterator[None]:
    """Restore loguru's handlers, and the numbers of the next ones, after the block."""
    from loguru import logger

    core: Any = vars(logger)["_core"]
    handlers, count, lowest = core.handlers, core.handlers_count, core.min_level
    unused = set(handlers.unused) if isinstance(handlers, HandlerTable) else set()
    try:
        yield
    finally:
        core.handlers, core.handlers_count, core.min_level = handlers, count, lowest
        if isinstance(handlers, HandlerTable):
            handlers.unused.clear()
            handlers.unused.update(unused)


def write(record: dict[str, Any]) -> None:
    """Write `record` of loguru: its extras become ``meta`` and its exception ``error``."""
    level = level_from_number(record["level"].no)
    if LEVELS[level] < pipeline.threshold:
        return
    name = record["name"]
    meta = {**record["extra"], "at": f"{name}:{record['function']}:{record['line']}"}
    exception = record["exception"]
    error = exception.value if exception else None
    tag_json = _tags.get(name) or _new_tag(name)
    pipeline.write(level, record["message"].rstrip("\n"), tag_json, None, meta, error)


def _new_tag(name: str | None) -> str:
    if len(_tags) >= _TAGS_MAX:
        _tags.clear()
    _tags[name] = render.tag_json(render.package_of(name or "loguru"))
    return _tags[name]
