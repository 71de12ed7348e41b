"""The one pipeline of this process: who speaks, and how a record becomes a line and goes out."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from time import time_ns
from typing import Any, Final

import msgspec

from cordboard.context import EMPTY, Context, process_context, variable
from cordboard.contract.record import LEVELS, LINE_MAX_BYTES
from cordboard.emit import render
from cordboard.emit.json_codec import escape_controls
from cordboard.emit.output import FORK_WAIT_S, Output
from cordboard.emit.truncation import shorten

DEFAULT_SERVICE: Final = "app"
LOG_TAG: Final = ',"tag":"log"'
_OTEL: Final = "opentelemetry.trace"
_NS: Final = 1_000_000_000
_modules: Final = sys.modules
_messages: Final = render.messages


class Pipeline:
    """All that a line needs beside its logger; there is one in a process, ``pipeline``."""

    __slots__ = (
        "boot",
        "captures",
        "configure",
        "configured",
        "diverted",
        "empty",
        "failed",
        "level",
        "machine",
        "observers",
        "output",
        "pretty",
        "sequence",
        "service",
        "service_json",
        "tail",
        "threshold",
    )

    def __init__(self, configure: Callable[[], None]) -> None:
        self.configure = configure
        self.configured = False
        self.diverted = True
        self.failed = False
        self.level = "info"
        self.threshold = LEVELS["info"]
        self.pretty: Callable[[bytes], bytes] | None = None
        self.output: Output | None = None
        self.captures: list[list[dict[str, Any]]] = []
        self.observers: list[Callable[[bytes], None]] = []
        self.name(DEFAULT_SERVICE, "server")
        self.reboot()

    def name(self, service: str, machine: str) -> None:
        """Say who speaks, and under which name where no session is known."""
        self.service = service
        self.service_json = f',"service":{render.name_json(service)}'
        self.machine = machine
        self.empty = render.context_json(EMPTY, machine)

    def reboot(self, boot: str | None = None) -> None:
        """Count from 1 under a new boot, by default a drawn one: at process start, after a fork."""
        self.boot = boot or os.urandom(4).hex()
        self.sequence: Iterator[int] = count(1)
        self.tail = f',"boot":"{self.boot}","seq":'

    def write(  # noqa: PLR0917 - keywords would cost a tenth of a line
        self,
        level: str,
        message: str,
        tag_json: str,
        event: str | None = None,
        meta: dict[str, Any] | None = None,
        error: object = None,
        context: Context | None = None,
        service_json: str = "",
        rest: str = "",
    ) -> None:
        """Write one record; what goes wrong in here is told once and never raised.

        One function, though a long one: each call less is a fiftieth of a line's cost.

        Args:
            level: One of the contract's.
            message: The sentence.
            tag_json: ``,"tag":"…"``.
            event: An event of the contract.
            meta: Everything else.
            error: An exception, or a text.
            context: Whose record it is; by default what is bound here.
            service_json: ``,"service":"…"`` of another service whose line it is.
            rest: Further keys between ``error`` and ``boot``, as JSON.
        """
        if not self.configured:
            self.configure()
            if LEVELS[level] < self.threshold:
                return
        try:
            now_ns = time_ns()
            who = context or variable.get() or process_context[0]
            who_json, trace = who.line or self.context_json(who)
            if _OTEL in _modules:
                trace = render.span_json() or trace
            if meta or event is not None or error is not None:
                rest = render.body_json(event, meta, error, rest)
            began_ns, prefix = render.clock[0]
            passed_ns = now_ns - began_ns
            if not 0 <= passed_ns < _NS:
                began_ns, prefix = render.new_second(now_ns)
                passed_ns = now_ns - began_ns
            text = (
                f'{{"timestamp":"{prefix}{passed_ns // 1000:06d}Z","level":"{level}",'
                f'"message":{_messages.get(message) or render.message_json(message)}'
                f"{service_json or self.service_json}{tag_json},{who_json}{trace}{rest}"
                f"{self.tail}{next(self.sequence)}}}\n"
            )
            line = text.encode()
            if not text.isascii():
                line = escape_controls(line)
            if len(line) > LINE_MAX_BYTES:
                line = shorten(line)
            if self.diverted or level == "error":
                self.put(line, urgent=level == "error")
            else:
                self.output.put(line)  # type: ignore[union-attr]  # else it is diverted
        except Exception as failure:  # noqa: BLE001 - logging never fails its caller
            self.tell_failure(failure)

    def context_json(self, context: Context) -> tuple[str, str]:
        """Return a context as a line says it, encoded when it is first met."""
        if context is EMPTY:
            return self.empty
        line = render.context_json(context, self.machine)
        if context.session_id is not None:
            object.__setattr__(context, "line", line)
        return line

    def put(self, line: bytes, *, urgent: bool = False) -> None:
        """Hand over a line that is whole and valid."""
        for observer in self.observers:
            observer(line)
        if self.captures:
            self.captures[-1].append(msgspec.json.decode(line))
            return
        output = self.output or self.open()
        shown = line if self.pretty is None else self.pretty(line)
        if urgent:
            output.put_now(shown)
        else:
            output.put(shown)

    def open(self, fd: int = 1) -> Output:
        """Begin writing to a descriptor."""
        if self.output is not None:
            self.output.quiesce()
        self.output = Output(fd, self.tell_dropped)
        self.redirect()
        return self.output

    def add_observer(self, observer: Callable[[bytes], None]) -> None:
        """Call `observer` with each line from now on, before the line is written."""
        self.observers.append(observer)
        self.redirect()

    def remove_observer(self, observer: Callable[[bytes], None]) -> None:
        """Undo ``add_observer``; an observer that is not there is ignored."""
        if observer in self.observers:
            self.observers.remove(observer)
            self.redirect()

    def redirect(self) -> None:
        """Note whether lines go straight to the output."""
        self.diverted = bool(self.observers or self.captures or self.pretty or not self.output)

    def tell_dropped(self, lines: int) -> None:
        """Say how many lines the reader was too slow for."""
        self.write("warn", "Log lines were dropped", LOG_TAG, None, {"lines": lines})

    def tell_failure(self, failure: Exception) -> None:
        """Say once that the logger itself failed; a caller never hears of it."""
        if not self.failed:
            self.failed = True
            self.write("error", "A log record could not be written", LOG_TAG, error=failure)


def _configure_by_environment() -> None:
    from cordboard.emit.setup import configure

    configure(DEFAULT_SERVICE)


def _in_child() -> None:
    pipeline.reboot()
    pipeline.failed = False
    if pipeline.output is not None:
        pipeline.output.after_fork()


def _before_fork() -> None:
    with suppress(Exception):
        if pipeline.output is not None:
            pipeline.output.quiesce(FORK_WAIT_S)


def _in_parent() -> None:
    with suppress(Exception):
        if pipeline.output is not None:
            pipeline.output.resume()


pipeline: Final = Pipeline(_configure_by_environment)
os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
