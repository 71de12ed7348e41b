"""Events of structlog: a last processor that hands them over.

A program that has configured structlog itself puts ``processor`` last in its own list.
"""

import sys
from collections.abc import MutableMapping
from typing import Any, NoReturn

from cordboard.contract.record import LEVELS, level_from_name
from cordboard.emit import render
from cordboard.emit.pipeline import pipeline


def install(threshold: int) -> None:
    """Make structlog speak through the pipeline, unless the program has configured it."""
    import structlog  # noqa: PLC0415 - an optional dependency

    if structlog.is_configured():
        return
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, processor],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=True,
    )


def processor(_logger: object, method: str, event: MutableMapping[str, Any]) -> NoReturn:
    """Write an event and end its way through the processors.

    Raises:
        structlog.DropEvent: Always; structlog takes it as: nothing left to do.
    """
    from structlog import DropEvent  # noqa: PLC0415 - an optional dependency

    try:
        _write(method, dict(event))
    except Exception as failure:  # noqa: BLE001 - logging never fails its caller
        pipeline.tell_failure(failure)
    raise DropEvent


def _write(method: str, event: dict[str, Any]) -> None:
    level = level_from_name(str(event.pop("level", method))) or "info"
    if LEVELS[level] < pipeline.threshold:
        return
    message = str(event.pop("event", ""))
    error = _exception(event.pop("exc_info", method == "exception"))
    tag = event.pop("tag", None) or str(event.pop("logger", "structlog")).partition(".")[0]
    event.pop("timestamp", None)
    pipeline.write(level, message, f',"tag":{render.name_json(tag)}', None, event, error)


def _exception(exc_info: object) -> BaseException | None:
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        exc_info = exc_info[1]
        return exc_info if isinstance(exc_info, BaseException) else None
    return sys.exc_info()[1] if exc_info else None
