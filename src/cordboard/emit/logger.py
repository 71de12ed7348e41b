"""The logger: immutable, with a tag. A method whose level is disabled is a call that returns."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from cordboard.contract.record import LEVELS
from cordboard.emit.pipeline import pipeline
from cordboard.emit.render import tag_json
from cordboard.emit.stdlib_keywords import EXC_INFO
from cordboard.emit.values import safe_text


class Logger:
    """Writes records under one tag, each with the session that is bound where it is called.

    The message comes first and is a constant sentence, so that it can be searched and counted;
    everything that varies is a keyword. ``event`` names a documented event and ``error`` takes an
    exception. ``exc_info``, ``stack_info`` and ``extra`` mean what they mean to the standard
    library. All other keywords become members of ``meta``.

    Make one per module with ``get_logger``.

    Example:
        ```python
        log = get_logger("invoices")
        log.info("Invoice sent", number=42, lines=3)
        ```

    Attributes:
        tag: The tag of the records.
    """

    __slots__ = ("_bound", "_tag_json", "tag")

    def __init__(self, tag: str, bound: Mapping[str, Any] | None = None) -> None:
        self.tag = tag
        self._tag_json = tag_json(tag)
        self._bound = dict(bound or {})

    def bind(self, **meta: Any) -> "Logger":
        """Return a logger that adds members to the ``meta`` of every record.

        Args:
            **meta: The members; a keyword of a call overrides one of the same name.

        Returns:
            A new logger with the same tag; this one stays as it is.

        Example:
            ```python
            log = get_logger("invoices").bind(customer="c-17")
            log.info("Invoice sent", number=42)  # meta: customer and number
            ```
        """
        return Logger(self.tag, {**self._bound, **meta})

    # The methods below repeat five lines each: a shared helper would be one more call per record.

    def debug(
        self, message: str, /, *, event: str | None = None, error: object = None, **meta: Any
    ) -> None:
        """Log what only a developer needs, at level ``debug``.

        Args:
            message: A constant sentence.
            event: The name of a documented event.
            error: An exception.
            **meta: Everything that varies.

        Raises:
            TypeError: `message` is a mapping.

        Example:
            ```python
            log.debug("Cache missed", key="u-1")
            ```
        """
        if type(message) is not str:
            message = _message_text(message)
        if self._bound:
            meta = {**self._bound, **meta}
        pipeline.write("debug", message, self._tag_json, event, meta, error)

    def info(
        self, message: str, /, *, event: str | None = None, error: object = None, **meta: Any
    ) -> None:
        """Log what happened, at level ``info``.

        Args:
            message: A constant sentence.
            event: The name of a documented event.
            error: An exception.
            **meta: Everything that varies.

        Raises:
            TypeError: `message` is a mapping.

        Example:
            ```python
            log.info("Invoice sent", number=42, lines=3)
            ```
        """
        if type(message) is not str:
            message = _message_text(message)
        if self._bound:
            meta = {**self._bound, **meta}
        pipeline.write("info", message, self._tag_json, event, meta, error)

    def warn(
        self, message: str, /, *, event: str | None = None, error: object = None, **meta: Any
    ) -> None:
        """Log a problem that does not stop the work, at level ``warn``.

        Args:
            message: A constant sentence.
            event: The name of a documented event.
            error: An exception.
            **meta: Everything that varies.

        Raises:
            TypeError: `message` is a mapping.

        Example:
            ```python
            log.warn("The invoice has no address", number=42)
            ```
        """
        if type(message) is not str:
            message = _message_text(message)
        if self._bound:
            meta = {**self._bound, **meta}
        pipeline.write("warn", message, self._tag_json, event, meta, error)

    def warning(
        self, message: str, /, *, event: str | None = None, error: object = None, **meta: Any
    ) -> None:
        """Do the same as ``warn``, under the name that standard logging uses.

        Args:
            message: A constant sentence.
            event: The name of a documented event.
            error: An exception.
            **meta: Everything that varies.

        Raises:
            TypeError: `message` is a mapping.

        Example:
            ```python
            log.warning("The invoice has no address", number=42)
            ```
        """
        self.warn(message, event=event, error=error, **meta)

    def error(
        self, message: str, /, *, event: str | None = None, error: object = None, **meta: Any
    ) -> None:
        """Log a failure, at level ``error``. The line is written when this returns.

        Args:
            message: A constant sentence.
            event: The name of a documented event.
            error: The exception that caused the failure.
            **meta: Everything that varies.

        Raises:
            TypeError: `message` is a mapping.

        Example:
            ```python
            try:
                send(invoice)
            except OSError as failure:
                log.error("The invoice was not sent", error=failure, number=42)
            ```
        """
        if type(message) is not str:
            message = _message_text(message)
        if self._bound:
            meta = {**self._bound, **meta}
        pipeline.write("error", message, self._tag_json, event, meta, error)

    def exception(
        self, message: str, /, *, event: str | None = None, error: object = None, **meta: Any
    ) -> None:
        """Log a failure with the exception that is being handled, at level ``error``.

        Args:
            message: A constant sentence.
            event: The name of a documented event.
            error: An exception to log instead of the current one.
            **meta: Everything that varies.

        Raises:
            TypeError: `message` is a mapping.

        Example:
            ```python
            try:
                send(invoice)
            except OSError:
                log.exception("The invoice was not sent", number=42)
            ```
        """
        if error is None:
            meta.setdefault(EXC_INFO, True)
        self.error(message, event=event, error=error, **meta)

    def __repr__(self) -> str:
        return f"get_logger({self.tag!r})" + (f".bind(**{self._bound!r})" if self._bound else "")


def _disabled(self: Logger, message: str, /, **meta: Any) -> None:
    """Replace a method whose level is disabled: return without looking at the arguments."""


_METHODS: Final[dict[str, Callable[..., None]]] = {
    "debug": Logger.debug,
    "info": Logger.info,
    "warn": Logger.warn,
}


def enable_levels_from(level: str) -> None:
    """Enable the methods of `level` and above for every logger; disable those below.

    The methods of the class are replaced: a comparison of levels would cost a disabled call as much
    again as the call itself.
    """
    for name, method in _METHODS.items():
        setattr(Logger, name, method if LEVELS[name] >= LEVELS[level] else _disabled)


def _message_text(message: object) -> str:
    if issubclass(type(message), Mapping):
        raise TypeError(
            "The first argument is the message, a sentence; pass metadata as keywords: "
            'log.info("Join accepted", reused=False), or log.info("Join accepted", **mapping).'
        )
    return safe_text(message)


def get_logger(tag: str = "app") -> Logger:
    """Return a logger for one part of a service.

    Call it once per module. It reads no configuration, so it may be called before ``configure``.

    Args:
        tag: The name of the part, such as ``gateway``, ``store`` or ``html_tools``.

    Returns:
        A logger whose records carry the tag.

    Example:
        ```python
        from cordboard import get_logger

        log = get_logger("invoices")
        log.info("Invoice sent", number=42)
        ```
    """
    return Logger(tag)
