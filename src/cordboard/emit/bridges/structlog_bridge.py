"""Events of structlog, passed to the pipeline by a last processor.

A program that configures structlog itself puts ``processor`` last in its own list.
"""

from collections.abc import MutableMapping
from typing import Any, NoReturn

from cordboard.contract.record import LEVELS, Level, level_from_name, level_from_number
from cordboard.emit import render
from cordboard.emit.pipeline import pipeline
from cordboard.emit.stdlib_keywords import EXC_INFO


def install(threshold: int) -> None:
    """Configure structlog to write through the pipeline, unless the program has configured it.

    Args:
        threshold: The number of the lowest level.
    """
    import structlog

    if structlog.is_configured():
        return
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, processor],
        wrapper_class=_bound_logger(threshold),
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=True,
    )


def _bound_logger(threshold: int) -> type[Any]:
    """Return structlog's class, except that ``log`` takes any number, as in standard logging."""
    import structlog

    base: Any = structlog.make_filtering_bound_logger(threshold)

    class BoundLogger(base):  # type: ignore[misc]
        def log(self, level: float, event: str, *args: Any, **keywords: Any) -> Any:
            return base.log(self, LEVELS[level_from_number(level)], event, *args, **keywords)

        async def alog(self, level: float, event: str, *args: Any, **keywords: Any) -> Any:
            number = LEVELS[level_from_number(level)]
            return await base.alog(self, number, event, *args, **keywords)

    return BoundLogger


def processor(_logger: object, method: str, event: MutableMapping[str, Any]) -> NoReturn:
    """Write an event of structlog; put this last in the list of processors.

    Args:
        _logger: The wrapped logger, which is not used.
        method: The method that was called, such as ``info``.
        event: The event with all that is bound to it.

    Raises:
        structlog.DropEvent: Always: there is nothing left for structlog to do.

    Example:
        ```python
        structlog.configure(processors=[structlog.contextvars.merge_contextvars, processor])
        ```
    """
    from structlog import DropEvent

    try:
        _write(method, dict(event))
    except Exception as failure:
        pipeline.log_failure(failure)
    raise DropEvent


def _write(method: str, event: dict[str, Any]) -> None:
    level = _level(event.pop("level", method))
    if LEVELS[level] < pipeline.threshold:
        return
    message = str(event.pop("event", ""))
    if method == "exception":
        event.setdefault(EXC_INFO, True)
    tag = event.pop("tag", None) or str(event.pop("logger", "structlog")).partition(".")[0]
    event.pop("timestamp", None)
    pipeline.write(level, message, render.tag_json(tag), None, event)


def _level(name_or_number: object) -> Level:
    if isinstance(name_or_number, int):
        return level_from_number(name_or_number)
    return level_from_name(str(name_or_number)) or "info"
