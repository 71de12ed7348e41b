"""The one pipeline of this process: its identity, and how a record becomes a line and is written."""

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
from cordboard.emit.truncation import truncate_line

DEFAULT_SERVICE: Final = "app"
LOG_TAG: Final = ',"tag":"log"'
"""The tag of lines that the library writes about itself, as JSON."""
_OTEL: Final = "opentelemetry.trace"
_NS: Final = render.NS
# Globals of this module: a name of another module would cost one more lookup for each line.
_modules: Final = sys.modules
_messages: Final = render.messages

Observer = Callable[[bytes], None]


class Pipeline:
    """All that a line needs besides its logger. There is one in a process, ``pipeline``.

    Attributes:
        boot: Eight hexadecimal digits that name this process, drawn at its start and after a fork.
        captures: The lists that ``capture`` fills instead of writing lines; the last one is active.
        configure: Called before the first line of a process that has not called ``configure``.
        configured: Whether the process, or the first line, has configured the pipeline.
        failed: Whether a failure of the library itself has been logged.
        cell: The cell of this process, if there are cells.
        level: The lowest level that is written.
        machine: The name of this machine in lines without a session.
        observers: Called with each line before it is written.
        output: The queue before the file descriptor; None until the first line or ``open``.
        pretty: Turns a line into its form for people; None for JSON.
        sequence: The next values of ``seq``.
        service: The service that this process is.
        service_json: Its key in a line, after a comma.
        sink: Takes a finished line: the output directly, or ``put`` if anything is in between.
        tail: The end of a line before its ``seq``.
        threshold: The number of ``level``.
        unbound_json: The keys of a context without a session, as JSON, and those of its trace.
    """

    __slots__ = (
        "boot",
        "captures",
        "cell",
        "configure",
        "configured",
        "failed",
        "level",
        "machine",
        "observers",
        "output",
        "pretty",
        "sequence",
        "service",
        "service_json",
        "sink",
        "tail",
        "threshold",
        "unbound_json",
    )

    def __init__(self) -> None:
        self.configure: Callable[[], None] = self._use_defaults
        self.configured = False
        self.failed = False
        self.level = "info"
        self.threshold = LEVELS["info"]
        self.pretty: Callable[[bytes], bytes] | None = None
        self.output: Output | None = None
        self.captures: list[list[dict[str, Any]]] = []
        self.observers: list[Observer] = []
        self.sink: Callable[[bytes], None] = self.put
        self.set_identity(DEFAULT_SERVICE, "server")
        self.start_boot()

    def _use_defaults(self) -> None:
        """Write JSON to stdout from ``info`` on; ``emit.setup`` replaces this method."""
        self.configured = True

    def set_identity(self, service: str, machine: str, cell: str | None = None) -> None:
        """Set what lines of this process carry.

        Args:
            service: The service that this process is.
            machine: The name of this machine; ``server:`` and it stand for an unknown session.
            cell: The cell that this process belongs to, if there are cells.
        """
        self.service = service
        self.service_json = f',"service":{render.name_json(service)}'
        self.machine = machine
        self.cell = cell
        self.unbound_json = render.context_json(EMPTY, machine, cell)

    def start_boot(self, boot: str | None = None) -> None:
        """Count lines from 1 under a new boot: at the start of a process and after a fork.

        Args:
            boot: Eight hexadecimal digits; drawn at random by default.
        """
        self.boot = boot or os.urandom(4).hex()
        self.sequence: Iterator[int] = count(1)
        self.tail = f',"boot":"{self.boot}","seq":'

    def write(
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
        """Write one record. A failure in here is logged once, and never raised.

        This is the hot path, and one function although it is long: each further call takes a
        fiftieth of a line's time.

        Args:
            level: ``debug``, ``info``, ``warn`` or ``error``.
            message: The message.
            tag_json: The tag, as JSON after a comma.
            event: The event, or None.
            meta: Everything else.
            error: An exception, a text, or None.
            context: The context of the record; by default what is bound here.
            service_json: Another service that the line is of, as JSON after a comma.
            rest: Further keys between ``error`` and ``boot``, as JSON after a comma.
        """
        if not self.configured and not self._configure_for(level):
            return
        try:
            start_ns, second = render.clock[0]
            passed_ns = time_ns() - start_ns
            if not 0 <= passed_ns < _NS:
                passed_ns, second = render.start_second(start_ns + passed_ns)
            who = context or variable.get() or process_context[0]
            who_json, trace = who.line or self.context_json(who)
            if _OTEL in _modules:
                trace = render.active_span_json() or trace
            if meta or event is not None or error is not None:
                rest = render.body_json(event, meta, error, rest)
            text = (
                f'{{"timestamp":"{second}{passed_ns // 1000:06d}Z","level":"{level}",'
                f'"message":{_messages.get(message) or render.message_json(message)}'
                f"{service_json or self.service_json}{tag_json},{who_json}{trace}{rest}"
                f"{self.tail}{next(self.sequence)}}}\n"
            )
            line = text.encode()
            if len(line) > LINE_MAX_BYTES or not text.isascii():
                line = _conforming(line)
            if level == "error":
                self.put_now(line)
            else:
                self.sink(line)
        except Exception as failure:
            self.log_failure(failure)

    def _configure_for(self, level: str) -> bool:
        """Configure the pipeline; return whether it then writes lines of `level`."""
        self.configure()
        return LEVELS[level] >= self.threshold

    def context_json(self, context: Context) -> tuple[str, str]:
        """Return the keys of `context` in a line; they are encoded once and kept in it."""
        if context is EMPTY:
            return self.unbound_json
        line = render.context_json(context, self.machine, self.cell)
        if context.session_id is not None:
            # A cache in a frozen object: a second thread stores the same value.
            object.__setattr__(context, "line", line)
        return line

    def put(self, line: bytes) -> None:
        """Hand the valid `line` to the observers, and to the output or the active capture."""
        self._deliver(line, is_urgent=False)

    def put_now(self, line: bytes) -> None:
        """Do what ``put`` does, and write `line` to the descriptor before returning."""
        self._deliver(line, is_urgent=True)

    def _deliver(self, line: bytes, *, is_urgent: bool) -> None:
        for observer in self.observers:
            observer(line)
        if self.captures:
            self.captures[-1].append(msgspec.json.decode(line))
            return
        output = self.output or self.open()
        shown = line if self.pretty is None else self.pretty(line)
        if is_urgent:
            output.put_now(shown)
        else:
            output.put(shown)

    def open(self, fd: int = 1) -> Output:
        """Write to the file descriptor `fd` from now on; return its queue."""
        if self.output is not None:
            self.output.quiesce()
        self.output = Output(fd, self._log_dropped)
        self.update_sink()
        return self.output

    def add_observer(self, observer: Observer) -> None:
        """Call `observer` with each line from now on, before the line is written."""
        self.observers.append(observer)
        self.update_sink()

    def remove_observer(self, observer: Observer) -> None:
        """Undo ``add_observer``; an `observer` that is not there is ignored."""
        if observer in self.observers:
            self.observers.remove(observer)
            self.update_sink()

    def update_sink(self) -> None:
        """Set ``sink`` after a change of what is between a record and the output."""
        is_direct = not (self.observers or self.captures or self.pretty)
        self.sink = self.output.put if self.output is not None and is_direct else self.put

    def _log_dropped(self, lines: int) -> None:
        self.write("warn", "Log lines were dropped", LOG_TAG, None, {"lines": lines})

    def log_failure(self, failure: Exception) -> None:
        """Log `failure`, an exception within this library, unless one was logged before."""
        if not self.failed:
            self.failed = True
            self.write("error", "A log record could not be written", LOG_TAG, error=failure)


def _conforming(line: bytes) -> bytes:
    """Return `line` with its control characters escaped, and truncated if it is too long."""
    line = escape_controls(line)
    return truncate_line(line) if len(line) > LINE_MAX_BYTES else line


def _after_fork_in_child() -> None:
    pipeline.start_boot()
    pipeline.failed = False
    if pipeline.output is not None:
        pipeline.output.after_fork()


def _before_fork() -> None:
    # A lock that the writing thread holds would stay locked in the child for ever.
    with suppress(Exception):
        if pipeline.output is not None:
            pipeline.output.quiesce(FORK_WAIT_S)


def _after_fork_in_parent() -> None:
    with suppress(Exception):
        if pipeline.output is not None:
            pipeline.output.resume()


pipeline: Final = Pipeline()
os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)
