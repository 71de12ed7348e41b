"""Records of standard logging, from any logger, whatever ``dictConfig`` does later.

Every record passes ``Logger.callHandlers``, which is replaced here. So no record is lost of a logger
that does not propagate (uvicorn's), or if handlers are set up later. Handlers that write to stdout
or stderr are skipped, because the record is on stdout already; all others, such as files and test
tools, get the record as before.
"""

import logging
import sys
from contextlib import suppress
from typing import Any, Final

from cordboard.contract.record import LEVELS, level_from_number
from cordboard.emit import render
from cordboard.emit.pipeline import pipeline

_PLAIN: Final = vars(logging.makeLogRecord({}))
_STANDARD_ATTRIBUTES: Final = _PLAIN.keys() | {"message", "asctime", "taskName", "color_message"}
_original: Final = logging.Logger.callHandlers
_tags: Final[dict[str, str]] = {}
# Loggers whose tag is kept encoded; a program that names loggers by request empties the cache.
_TAGS_MAX: Final = 1024
_LOGGED: Final = "logged_by_cordboard"
muted_loggers: Final[set[str]] = set()
"""Names of loggers whose records are dropped, because another line tells the same."""


def mark_logged(error: BaseException) -> None:
    """Drop further records of standard logging about `error`: it is in a line already."""
    with suppress(Exception):  # an exception that takes no attributes is logged twice
        setattr(error, _LOGGED, True)


def install(threshold: int) -> None:
    """Write all records through the pipeline, and Python's warnings as well.

    Args:
        threshold: The number of the lowest level.
    """
    if logging.Logger.callHandlers is not _call_handlers:
        logging.Logger.callHandlers = _call_handlers  # type: ignore[method-assign]
        logging.captureWarnings(capture=True)
    # A number below DEBUG becomes debug, so all of them must pass.
    level = threshold if threshold > logging.DEBUG else logging.NOTSET
    # A new level empties the caches of all loggers: a forked process would copy the memory of each.
    if logging.root.level != level:
        logging.root.setLevel(level)
    _disable_trace("uvicorn")


def _disable_trace(name: str) -> None:
    """Set the level of a logger to DEBUG: uvicorn copies every ASGI message if level 5 is enabled."""
    logger = logging.getLogger(name)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.DEBUG)


def uninstall() -> None:
    """Let standard logging handle its records itself again."""
    logging.Logger.callHandlers = _original  # type: ignore[method-assign]
    logging.captureWarnings(capture=False)


def _call_handlers(self: logging.Logger, record: logging.LogRecord) -> None:
    if record.name not in muted_loggers:
        write(record)
    logger: logging.Logger | None = self
    while logger is not None:
        for handler in logger.handlers:
            if record.levelno >= handler.level and not _is_console(handler):
                handler.handle(record)
        logger = logger.parent if logger.propagate else None


def _is_console(handler: logging.Handler) -> bool:
    if not isinstance(handler, logging.StreamHandler) or isinstance(handler, logging.FileHandler):
        return False
    return handler.stream in {sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__}


def write(record: logging.LogRecord) -> None:
    """Write `record`, a record of standard logging. A failure is logged once, and never raised."""
    try:
        level = level_from_number(record.levelno)
        if LEVELS[level] < pipeline.threshold:
            return
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if getattr(error, _LOGGED, False):
            return
        meta = _meta(record)
        tag_json = _tags.get(record.name) or _new_tag(record.name)
        pipeline.write(level, _message(record), tag_json, None, meta, error)
    except Exception as failure:
        pipeline.log_failure(failure)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage().rstrip("\n")
    except Exception:  # arguments that do not fit the format, such as a text for %d
        return f"{record.msg} {record.args!r}"


def _meta(record: logging.LogRecord) -> dict[str, Any] | None:
    values = record.__dict__
    meta: dict[str, Any] = {}
    if len(values) > len(_PLAIN):
        meta = {key: values[key] for key in values.keys() - _STANDARD_ATTRIBUTES}
    if "." in record.name:
        meta["logger"] = record.name
    if record.stack_info:
        meta["stack"] = record.stack_info
    return meta


def _new_tag(name: str) -> str:
    if len(_tags) >= _TAGS_MAX:
        _tags.clear()
    tag = "warnings" if name == "py.warnings" else render.package_of(name)
    _tags[name] = render.tag_json(tag)
    return _tags[name]
