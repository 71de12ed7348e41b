"""Events of structlog: a last processor that hands them over.

A program that has configured structlog itself puts ``processor`` last in its own list.
"""

from collections.abc import MutableMapping
from typing import Any, NoReturn

from cordboard.contract.record import LEVELS, Level, level_from_name, level_from_number
from cordboard.emit import render
from cordboard.emit.pipeline import pipeline
from cordboard.emit.stdlib_keywords import EXC_INFO


def install(threshold: int) -> None:
    """Make structlog speak through the pipeline, unless the program has configured it."""
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
    """Return structlog's own class, except that ``log`` takes any number, as others' do."""
    import structlog

    known: Any = structlog.make_filtering_bound_logger(threshold)

    class BoundLogger(known):  # type: ignore[misc]
        def log(self, level: float, event: str, *args: Any, **keywords: Any) -> Any:
            return known.log(self, LEVELS[level_from_number(level)], event, *args, **keywords)

        async def alog(self, level: float, event: str, *args: Any, **keywords: Any) -> Any:
            number = LEVELS[level_from_number(level)]
            return await known.alog(self, number, event, *args, **keywords)

    return BoundLogger


def processor(_logger: object, method: str, event: MutableMapping[str, Any]) -> NoReturn:
    """Write an event and end its way through the processors.

    Raises:
        structlog.DropEvent: Always; structlog takes it as: nothing left to do.
    """
    from structlog import DropEvent

    try:
        _write(method, dict(event))
    except Exception as failure:  # noqa: BLE001 - logging never fails its caller
        pipeline.tell_failure(failure)
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


def _level(named: object) -> Level:
    if isinstance(named, int):
        return level_from_number(named)
    return level_from_name(str(named)) or "info"
