"""Records of standard logging, from any logger, whatever ``dictConfig`` does later.

The one place through which every record passes is ``Logger.callHandlers``: wrapped there, a logger
that does not propagate (uvicorn's) or handlers that are set up after us lose nothing. Handlers that
write to stdout or stderr are passed over, since the record is on stdout already; all others, such
as files and test tools, get the record as before.
"""

import logging
import sys
from contextlib import suppress
from typing import Any, Final

from cordboard.contract.record import LEVELS, level_from_number
from cordboard.emit import render
from cordboard.emit.pipeline import pipeline

_PLAIN: Final = vars(logging.makeLogRecord({}))
_KNOWN: Final = _PLAIN.keys() | {"message", "asctime", "taskName", "color_message"}
_original: Final = logging.Logger.callHandlers
_tags: Final[dict[str, str]] = {}
_TAGS_MAX: Final = 1024
_SAID: Final = "said_by_cordboard"
muted: Final[set[str]] = set()
"""Names of loggers whose records are said elsewhere already."""


def mark_said(error: BaseException) -> None:
    """Note that an exception is on a line already: the next logger to tell of it is passed over."""
    with suppress(Exception):  # an exception without room for attributes is told twice
        setattr(error, _SAID, True)


def install(threshold: int) -> None:
    """Take over all records from ``threshold`` on, and warnings too."""
    if logging.Logger.callHandlers is not _call_handlers:
        logging.Logger.callHandlers = _call_handlers  # type: ignore[method-assign]
        logging.captureWarnings(capture=True)
    # Numbers below DEBUG are debug to us, as loguru's TRACE is.
    logging.root.setLevel(threshold if threshold > logging.DEBUG else logging.NOTSET)
    _keep_from_trace("uvicorn")


def _keep_from_trace(name: str) -> None:
    """Give a logger a level of its own: uvicorn copies every message of ASGI where 5 is enabled."""
    logger = logging.getLogger(name)  # noqa: TID251 - the bridge's own subject
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.DEBUG)


def uninstall() -> None:
    """Give all records back to standard logging."""
    logging.Logger.callHandlers = _original  # type: ignore[method-assign]
    logging.captureWarnings(capture=False)


def _call_handlers(self: logging.Logger, record: logging.LogRecord) -> None:
    if record.name not in muted:
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
    """Write one record of standard logging; failures are told once, never raised."""
    try:
        level = level_from_number(record.levelno)
        if LEVELS[level] < pipeline.threshold:
            return
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if getattr(error, _SAID, False):
            return
        meta = _meta(record)
        tag_json = _tags.get(record.name) or _new_tag(record.name)
        pipeline.write(level, _message(record), tag_json, None, meta, error)
    except Exception as failure:  # noqa: BLE001 - logging never fails its caller
        pipeline.tell_failure(failure)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage().rstrip("\n")
    except Exception:  # noqa: BLE001 - "%d" and a text: the words are worth more than the mistake
        return f"{record.msg} {record.args!r}"


def _meta(record: logging.LogRecord) -> dict[str, Any] | None:
    values = record.__dict__
    meta: dict[str, Any] = {}
    if len(values) > len(_PLAIN):
        meta = {key: values[key] for key in values.keys() - _KNOWN}
    if "." in record.name:
        meta["logger"] = record.name
    if record.stack_info:
        meta["stack"] = record.stack_info
    return meta


def _new_tag(name: str) -> str:
    if len(_tags) >= _TAGS_MAX:
        _tags.clear()
    tag = "warnings" if name == "py.warnings" else name.partition(".")[0]
    _tags[name] = render.tag_json(tag)
    return _tags[name]
