"""The one pipeline of this process: who speaks, from which level on, and where lines go."""

import atexit
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from time import time_ns
from typing import Any, Final, Literal

import msgspec

from cordboard.context import EMPTY, Context, current
from cordboard.context.carrier import log_environment
from cordboard.contract.record import LEVELS, LINE_MAX_BYTES, level_from_name
from cordboard.emit import render
from cordboard.emit.output import Output

DEFAULT_SERVICE: Final = "app"
_OTEL: Final = "opentelemetry.trace"
_modules = sys.modules


class Pipeline:
    """All that a line needs beside its logger; there is one, ``pipeline``."""

    __slots__ = (
        "boot",
        "captures",
        "configured",
        "empty",
        "failed",
        "level",
        "machine",
        "output",
        "pretty",
        "sequence",
        "service",
        "service_json",
        "tail",
        "threshold",
        "watchers",
    )

    def __init__(self) -> None:
        self.configured = False
        self.failed = False
        self.level = "info"
        self.threshold = LEVELS["info"]
        self.service = DEFAULT_SERVICE
        self.service_json = f',"service":{render.name_json(DEFAULT_SERVICE)}'
        self.machine = "server"
        self.empty = render.context_json(EMPTY, self.machine)
        self.pretty: Callable[[bytes], bytes] | None = None
        self.output: Output | None = None
        self.captures: list[list[dict[str, Any]]] = []
        self.watchers: list[Callable[[bytes], None]] = []
        self.reboot()

    def reboot(self) -> None:
        """Draw a new boot and count from 1: at process start and in a forked child."""
        self.boot = os.urandom(4).hex()
        self.sequence: Iterator[int] = count(1)
        self.tail = f',"boot":"{self.boot}","seq":'

    def context_json(self, context: Context) -> tuple[str, str]:
        """Return a context as a line says it, encoded when it is first met."""
        if context is EMPTY:
            return self.empty
        line = context.line
        if line is None:
            line = render.context_json(context, self.machine)
            if context.session_id is not None:
                object.__setattr__(context, "line", line)
        return line

    def write(
        self,
        level: str,
        message: str,
        tag_json: str,
        event: str | None,
        meta: dict[str, Any] | None,
        error: object,
        *,
        context: Context | None = None,
        service_json: str = "",
        extra: str = "",
    ) -> None:
        """Write one record.

        Args:
            level: One of the contract's.
            message: The sentence.
            tag_json: ``,"tag":"…"``.
            event: An event of the contract.
            meta: Everything else.
            error: An exception, or a text.
            context: Whose record it is; by default what is bound here.
            service_json: ``,"service":"…"`` of another service whose line it is.
            extra: Further keys between ``error`` and ``boot``, as JSON.
        """
        who, trace = self.context_json(context or current())
        if _OTEL in _modules:
            trace = render.span_json() or trace
        if meta and error is None:
            error, meta = _split_error(meta)
        middle = f',"event":{render.name_json(event)}' if event else ""
        if meta:
            middle = f'{middle},"meta":{render.meta_json(meta)}'
        if error is not None:
            encoded = msgspec.json.encode(render.error_value(error)).decode()
            middle = f'{middle},"error":{encoded}'
        line = (
            f'{{"timestamp":"{render.stamp(time_ns())}","level":"{level}","message":'
            f"{render.message_json(message)}{service_json or self.service_json}{tag_json},{who}{trace}{middle}"
            f"{extra}{self.tail}{next(self.sequence)}}}\n"
        ).encode()
        if len(line) > LINE_MAX_BYTES:
            line = render.shorten(line)
        self.put(line, urgent=level == "error")

    def write_as(
        self, service: str, level: str, text: str, tag: str, *, context: Context | None
    ) -> None:
        """Write a raw line of another service."""
        tag_json, service_json = (
            f',"{k}":{render.name_json(v)}' for k, v in (("tag", tag), ("service", service))
        )
        self.write(
            level, text, tag_json, None, None, None,
            context=context, service_json=service_json, extra=',"raw":true',
        )  # fmt: skip

    def put(self, line: bytes, *, urgent: bool = False) -> None:
        """Hand over a line that is whole and valid."""
        if self.captures or self.watchers:
            for watcher in self.watchers:
                watcher(line)
            if self.captures:
                self.captures[-1].append(msgspec.json.decode(line))
                return
        if self.pretty is not None:
            line = self.pretty(line)
        output = self.output or self.open()
        if urgent:
            output.put_now(line)
        else:
            output.put(line)

    def open(self, fd: int = 1) -> Output:
        """Begin writing to a descriptor."""
        self.output = Output(fd, self.tell_dropped)
        return self.output

    def tell_dropped(self, lines: int) -> None:
        """Say how many lines the reader was too slow for."""
        self.write("warn", "Log lines were dropped", ',"tag":"log"', None, {"lines": lines}, None)

    def tell_failure(self, error: Exception) -> None:
        """Say once that the logger itself failed; a caller never hears of it."""
        if self.failed:
            return
        self.failed = True
        with suppress(Exception):
            self.write(
                "error", "A log record could not be written", ',"tag":"log"', None, {}, error
            )


def _split_error(meta: dict[str, Any]) -> tuple[object, dict[str, Any]]:
    for name, value in meta.items():
        if isinstance(value, BaseException):
            return value, {key: meta[key] for key in meta if key != name}
    return None, meta


pipeline: Final = Pipeline()


def configure(
    service: str,
    *,
    fd: int = 1,
    level: str | None = None,
    format: Literal["json", "pretty"] | None = None,  # noqa: A002 - the setting's name
    redact: tuple[str, ...] = (),
    bridges: bool = True,
) -> None:
    """Say once per process who speaks and where lines go.

    Args:
        service: ``gateway``, ``runner``, …, or a name of your own.
        fd: The file descriptor that gets the lines.
        level: ``debug``, ``info``, ``warn`` or ``error``; by default ``LOG_LEVEL``, else ``info``.
        format: ``json`` or ``pretty``; by default ``LOG_FORMAT``, else pretty on a terminal.
        redact: Further names whose values are written as ``[redacted]``.
        bridges: Whether records of logging, loguru and structlog come out in the same form.
    """
    environment = log_environment()
    wanted = level or environment.level
    known = level_from_name(wanted) if wanted else "info"
    if pipeline.output is not None:
        pipeline.output.flush()
    pipeline.configured = True
    pipeline.service, pipeline.service_json = service, f',"service":{render.name_json(service)}'
    pipeline.machine = environment.machine
    pipeline.empty = render.context_json(EMPTY, pipeline.machine)
    pipeline.level = known or "info"
    pipeline.threshold = LEVELS[pipeline.level]
    pipeline.pretty = _pretty_for(fd, format or environment.format, color=environment.color)
    pipeline.open(fd)
    if redact:
        from cordboard.emit.values import redact_also  # noqa: PLC0415 - few need it

        redact_also(redact)
    if bridges:
        from cordboard.emit.bridges import install  # noqa: PLC0415 - imports logging

        install()
    if known is None:
        pipeline.write(
            "warn", "LOG_LEVEL names no level", ',"tag":"log"', None, {"level": wanted}, None
        )


def _pretty_for(fd: int, form: str | None, *, color: bool) -> Callable[[bytes], bytes] | None:
    terminal = os.isatty(fd) if fd >= 0 else False
    if form == "json" or (form != "pretty" and not terminal):
        return None
    from cordboard.emit.pretty import painter  # noqa: PLC0415 - people only

    return painter(color=color and terminal)


def ensure_configured() -> None:
    """Configure with what the environment says, when nobody has."""
    if not pipeline.configured:
        configure(DEFAULT_SERVICE)


def flush() -> bool:
    """Write all that is queued; False when the reader did not take it within 2 s."""
    return pipeline.output.flush() if pipeline.output is not None else True


def quiesce() -> None:
    """Write all that is queued and end the writing thread; the next line starts it anew."""
    if pipeline.output is not None:
        pipeline.output.quiesce()


def shutdown() -> None:
    """Write all that is queued; lines after this are written by whoever says them."""
    if pipeline.output is not None:
        pipeline.output.quiesce()
        pipeline.output.threaded = False


@contextmanager
def capture(level: str = "debug") -> Iterator[list[dict[str, Any]]]:
    """Catch the records of a block, in a test, instead of writing them.

    Args:
        level: From which level on.
    """
    records: list[dict[str, Any]] = []
    before = pipeline.threshold, pipeline.configured
    pipeline.threshold, pipeline.configured = LEVELS[level_from_name(level) or "debug"], True
    pipeline.captures.append(records)
    try:
        yield records
    finally:
        pipeline.captures.remove(records)
        pipeline.threshold, pipeline.configured = before


def _in_child() -> None:
    pipeline.reboot()
    pipeline.failed = False
    if pipeline.output is not None:
        pipeline.output.after_fork()


os.register_at_fork(before=quiesce, after_in_child=_in_child)
atexit.register(shutdown)
with suppress(AttributeError, RuntimeError):
    # multiprocessing's children end without atexit, but not without this.
    threading._register_atexit(flush)  # type: ignore[attr-defined]  # noqa: SLF001
