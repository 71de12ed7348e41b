"""The logger: immutable, bound to a tag; a disabled level is a call that returns."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from cordboard.contract.record import LEVELS
from cordboard.emit.pipeline import pipeline
from cordboard.emit.render import tag_json
from cordboard.emit.stdlib_keywords import EXC_INFO
from cordboard.emit.values import safe_text


class Logger:
    """Speaks under one tag, with the context of wherever it is called.

    The message comes first and is a constant sentence; everything that varies is a keyword.
    ``event`` names an event of the contract, ``error`` takes an exception. ``exc_info``,
    ``stack_info`` and ``extra`` mean what they mean to the standard library.
    """

    __slots__ = ("_bound", "_tag_json", "tag")

    def __init__(self, tag: str, bound: Mapping[str, Any] | None = None) -> None:
        self.tag = tag
        self._tag_json = tag_json(tag)
        self._bound = dict(bound or {})

    def bind(self, **meta: Any) -> "Logger":
        """Return a logger that adds these to every record's meta."""
        return Logger(self.tag, {**self._bound, **meta})

    def debug(
        self, message: str, /, *, event: str | None = None, error: object = None, **meta: Any
    ) -> None:
        """Say what only a developer wants to know."""
        if type(message) is not str:
            message = _as_message(message)
        if self._bound:
            meta = {**self._bound, **meta}
        pipeline.write("debug", message, self._tag_json, event, meta, error)

    def info(
        self, message: str, /, *, event: str | None = None, error: object = None, **meta: Any
    ) -> None:
        """Say what happened."""
        if type(message) is not str:
            message = _as_message(message)
        if self._bound:
            meta = {**self._bound, **meta}
        pipeline.write("info", message, self._tag_json, event, meta, error)

    def warn(
        self, message: str, /, *, event: str | None = None, error: object = None, **meta: Any
    ) -> None:
        """Say what is not as it should be, though the work goes on."""
        if type(message) is not str:
            message = _as_message(message)
        if self._bound:
            meta = {**self._bound, **meta}
        pipeline.write("warn", message, self._tag_json, event, meta, error)

    def warning(
        self, message: str, /, *, event: str | None = None, error: object = None, **meta: Any
    ) -> None:
        """Say ``warn`` under its longer name."""
        self.warn(message, event=event, error=error, **meta)

    def error(
        self, message: str, /, *, event: str | None = None, error: object = None, **meta: Any
    ) -> None:
        """Say what failed; the line is written before this returns."""
        if type(message) is not str:
            message = _as_message(message)
        if self._bound:
            meta = {**self._bound, **meta}
        pipeline.write("error", message, self._tag_json, event, meta, error)

    def exception(
        self, message: str, /, *, event: str | None = None, error: object = None, **meta: Any
    ) -> None:
        """Say what failed, with the exception that is being handled."""
        if error is None:
            meta.setdefault(EXC_INFO, True)
        self.error(message, event=event, error=error, **meta)

    def __repr__(self) -> str:
        return f"get_logger({self.tag!r})" + (f".bind(**{self._bound!r})" if self._bound else "")


def _silent(self: Logger, message: str, /, **meta: Any) -> None:
    """Stand in for a method whose level is disabled: nothing is asked, nothing is said."""


_METHODS: Final[dict[str, Callable[..., None]]] = {
    "debug": Logger.debug,
    "info": Logger.info,
    "warn": Logger.warn,
}


def enable_levels_from(level: str) -> None:
    """Enable the methods of a level and above, for every logger; replace those below."""
    for name, method in _METHODS.items():
        setattr(Logger, name, method if LEVELS[name] >= LEVELS[level] else _silent)


def _as_message(message: object) -> str:
    if issubclass(type(message), Mapping):
        raise TypeError(
            "The message comes first and is a sentence; metadata are keywords: "
            'log.info("Join accepted", reused=False), or log.info("Join accepted", **mapping).'
        )
    return safe_text(message)


def get_logger(tag: str = "app") -> Logger:
    """Return a logger for a part of a service: ``gateway``, ``store``, ``html_tools``."""
    return Logger(tag)
