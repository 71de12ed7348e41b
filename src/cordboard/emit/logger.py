"""The logger: immutable, bound to a tag; a disabled level is a call that returns."""

import sys
from collections.abc import Mapping
from typing import Any, Final

from cordboard.contract.record import LEVELS
from cordboard.emit.pipeline import ensure_configured, pipeline
from cordboard.emit.render import name_json

_DEBUG: Final = LEVELS["debug"]
_INFO: Final = LEVELS["info"]
_WARN: Final = LEVELS["warn"]


class Logger:
    """Speaks under one tag, with the context of wherever it is called.

    The message comes first and is a constant sentence; everything that varies is a keyword.
    ``event`` names an event of the contract, ``error`` takes an exception.
    """

    __slots__ = ("_bound", "_tag_json", "tag")

    def __init__(self, tag: str, bound: Mapping[str, Any] | None = None) -> None:
        self.tag = tag
        self._tag_json = f',"tag":{name_json(tag)}'
        self._bound = dict(bound or {})

    def bind(self, **meta: Any) -> "Logger":
        """Return a logger that adds these to every record's meta."""
        return Logger(self.tag, {**self._bound, **meta})

    def debug(
        self, message: str, /, *, event: str | None = None, error: object = None, **meta: Any
    ) -> None:
        """Say what only a developer wants to know."""
        if pipeline.threshold <= _DEBUG:
            self._say("debug", message, event, error, meta)

    def info(
        self, message: str, /, *, event: str | None = None, error: object = None, **meta: Any
    ) -> None:
        """Say what happened."""
        if pipeline.threshold <= _INFO:
            self._say("info", message, event, error, meta)

    def warn(
        self, message: str, /, *, event: str | None = None, error: object = None, **meta: Any
    ) -> None:
        """Say what is not as it should be, though the work goes on."""
        if pipeline.threshold <= _WARN:
            self._say("warn", message, event, error, meta)

    warning = warn

    def error(
        self, message: str, /, *, event: str | None = None, error: object = None, **meta: Any
    ) -> None:
        """Say what failed; the line is written before this returns."""
        self._say("error", message, event, error, meta)

    def exception(
        self, message: str, /, *, event: str | None = None, error: object = None, **meta: Any
    ) -> None:
        """Say what failed, with the exception that is being handled."""
        self._say("error", message, event, error if error is not None else sys.exc_info()[1], meta)

    def _say(
        self, level: str, message: str, event: str | None, error: object, meta: dict[str, Any]
    ) -> None:
        if type(message) is not str:
            message = _as_message(message)
        if not pipeline.configured:
            ensure_configured()
        if self._bound:
            meta = {**self._bound, **meta}
        try:
            pipeline.write(level, message, self._tag_json, event, meta, error)
        except Exception as failure:  # noqa: BLE001 - logging never fails its caller
            pipeline.tell_failure(failure)

    def __repr__(self) -> str:
        return f"get_logger({self.tag!r})" + (f".bind(**{self._bound!r})" if self._bound else "")


def _as_message(message: object) -> str:
    if isinstance(message, Mapping):
        raise TypeError(
            "The message comes first and is a sentence; metadata are keywords: "
            'log.info("Join accepted", reused=False), or log.info("Join accepted", **mapping).'
        )
    return str(message)


def get_logger(tag: str = "app") -> Logger:
    """Return a logger for a part of a service: ``gateway``, ``store``, ``html_tools``."""
    return Logger(tag)
