"""Standard logging, loguru and structlog -> the same pipeline, with the context of the moment."""

import logging
import sys
from typing import Any, Final

from cordboard.contract.record import LEVELS, level_from_number
from cordboard.emit import render
from cordboard.emit.pipeline import pipeline

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class BridgeHandler(logging.Handler):
    """Hands records of standard logging to the pipeline."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; failures are told once, never raised."""
        try:
            _write_logging(record)
        except Exception as failure:  # noqa: BLE001 - logging never fails its caller
            pipeline.tell_failure(failure)


def _write_logging(record: logging.LogRecord) -> None:
    level = level_from_number(record.levelno)
    if LEVELS[level] < pipeline.threshold:
        return
    meta = {k: v for k, v in vars(record).items() if k not in _STANDARD}
    tag = record.name.partition(".")[0]
    if tag != record.name:
        meta["logger"] = record.name
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    tag_json = f',"tag":{render.name_json(tag)}'
    pipeline.write(level, record.getMessage(), tag_json, None, meta, error)


def _loguru_sink(message: Any) -> None:
    record = message.record
    level = level_from_number(record["level"].no)
    if LEVELS[level] < pipeline.threshold:
        return
    name = record["name"] or "loguru"
    meta = {**record["extra"], "at": f"{name}:{record['function']}:{record['line']}"}
    error = record["exception"].value if record["exception"] else None
    tag_json = f',"tag":{render.name_json(name.partition(".")[0])}'
    pipeline.write(level, record["message"], tag_json, None, meta, error)


def install() -> None:
    """Bridge what is imported already; called by ``configure``."""
    root = logging.root
    if not any(isinstance(handler, BridgeHandler) for handler in root.handlers):
        root.addHandler(BridgeHandler())
    root.setLevel(pipeline.threshold)
    logging.captureWarnings(capture=True)
    if "loguru" in sys.modules:
        install_loguru()


def install_loguru() -> None:
    """Make loguru speak through the pipeline, and through nothing else."""
    from loguru import logger  # noqa: PLC0415 - an optional dependency

    logger.remove()
    logger.add(_loguru_sink, level=0, format="{message}", catch=True)
