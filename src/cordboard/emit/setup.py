"""Configures the pipeline and ends it: ``configure``, ``flush``, ``shutdown``, ``capture``."""

import atexit
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

from cordboard.context import EMPTY, bind_process, process_context, threads
from cordboard.context.carrier import extract_environment
from cordboard.context.log_environment import CELL, log_environment
from cordboard.contract.record import LEVELS, level_from_name
from cordboard.emit.logger import enable_levels_from
from cordboard.emit.pipeline import DEFAULT_SERVICE, LOG_TAG, pipeline


def configure(
    service: str,
    *,
    fd: int = 1,
    level: str | None = None,
    format: Literal["json", "pretty"] | None = None,
    redact: tuple[str, ...] = (),
    bridges: bool = True,
    carry: bool = True,
    capture_print: bool = False,
    session_from_environment: bool = True,
) -> None:
    """Set the name of this process in its log lines, and where and how they are written.

    Call it once per process, at its start. A process that logs without it writes as service
    ``app`` with all defaults. A second call replaces the settings of the first.

    Args:
        service: The name of the service, such as ``billing``.
        fd: The file descriptor that gets the lines.
        level: ``debug``, ``info``, ``warn`` or ``error``; by default ``LOG_LEVEL``, else ``info``.
        format: ``json`` or ``pretty``; by default ``LOG_FORMAT``, else ``pretty`` on a terminal
            and ``json`` otherwise.
        redact: Further names whose values are written as ``[redacted]``.
        bridges: Whether records of standard logging, loguru and structlog are written in the same
            format.
        carry: Whether threads and executors carry the session that is bound where they start.
        capture_print: Whether text on ``sys.stdout`` and ``sys.stderr`` becomes raw lines.
        session_from_environment: Whether to bind the session that the environment names
            (``BOT_SESSION_ID`` and its companions) to the process, unless one is bound already.

    Example:
        ```python
        import cordboard

        cordboard.configure(service="billing", redact=("social_security",))
        ```
    """
    environment = log_environment()
    level_name = level or environment.level or "info"
    known_level = level_from_name(level_name)
    pipeline.configured = True
    pipeline.set_identity(service, environment.machine, environment.cell)
    pipeline.pretty = _pretty_formatter(fd, format or environment.format, color=environment.color)
    pipeline.open(fd)
    _set_level(known_level or "info")
    if redact:
        from cordboard.contract.redaction import add_secret_names

        add_secret_names(redact)
    if carry:
        threads.install()
    if bridges:
        from cordboard.emit.bridges import install

        install()
    if session_from_environment:
        _bind_from_environment()
    if capture_print:
        from cordboard.emit import print_capture

        print_capture.install()
    if known_level is None:
        meta = {"level": level_name}
        pipeline.write("warn", "Unknown log level; using info", LOG_TAG, None, meta)


def name_cell(cell: str | None) -> None:
    """Write the cell of this process in each line, and name it to the processes that this one starts.

    Args:
        cell: The setting ``cell``; None if there are no cells.
    """
    if cell is not None:
        os.environ[CELL] = cell
        pipeline.set_identity(pipeline.service, pipeline.machine, cell)


def _configure_from_environment() -> None:
    configure(DEFAULT_SERVICE)


# A program that logs without ``configure`` gets one call of it, with its first line.
pipeline.configure = _configure_from_environment


def _bind_from_environment() -> None:
    if process_context[0] is not EMPTY:
        return
    extracted = extract_environment()
    if extracted.context.session_id is not None:
        bind_process(extracted.context)
    if extracted.refused:
        meta = {"variables": extracted.refused_variables}
        message = "Malformed session variables were ignored"
        pipeline.write("warn", message, LOG_TAG, None, meta)


def _set_level(level: str) -> None:
    pipeline.level, pipeline.threshold = level, LEVELS[level]
    enable_levels_from(level)


def _pretty_formatter(fd: int, form: str | None, *, color: bool) -> Callable[[bytes], bytes] | None:
    is_terminal = fd >= 0 and os.isatty(fd)
    if form == "json" or (form != "pretty" and not is_terminal):
        return None
    from cordboard.emit.pretty import pretty_formatter

    return pretty_formatter(color=color and is_terminal)


def flush() -> bool:
    """Write all lines that are queued, waiting at most 2 s for the reader.

    Returns:
        Whether everything was written.

    Example:
        ```python
        log.info("Bye")
        cordboard.emit.flush()
        os._exit(0)  # skips what normally flushes at the end of a process
        ```
    """
    return pipeline.output.flush() if pipeline.output is not None else True


def quiesce() -> None:
    """Write all lines that are queued and end the writing thread.

    The next line starts the thread again. Call it before something that works in a process of one
    thread only, such as joining a user namespace. A fork does not need it.

    Example:
        ```python
        cordboard.emit.quiesce()
        os.setns(namespace, os.CLONE_NEWUSER)
        ```
    """
    if pipeline.output is not None:
        pipeline.output.quiesce()


def shutdown() -> None:
    """Write all lines that are queued, and start no thread any more.

    The caller of a logger then writes its lines itself. This runs at the end of every process.

    Example:
        ```python
        log.info("Stopped")
        cordboard.emit.shutdown()
        ```
    """
    if pipeline.output is not None:
        pipeline.output.quiesce()
        pipeline.output.threaded = False


@contextmanager
def capture(level: str = "debug") -> Iterator[list[dict[str, Any]]]:
    """Collect the records of a block instead of writing them, for tests.

    Args:
        level: The lowest level that is collected.

    Yields:
        The list of records, in the form of a decoded line; it grows while the block runs.

    Example:
        ```python
        with cordboard.emit.capture() as records:
            send(invoice)
        assert records[0]["message"] == "Invoice sent"
        ```
    """
    records: list[dict[str, Any]] = []
    old_level, was_configured = pipeline.level, pipeline.configured
    pipeline.configured = True
    _set_level(level_from_name(level) or "debug")
    pipeline.captures.append(records)
    pipeline.update_sink()
    try:
        yield records
    finally:
        # By identity: two captures that collected the same records are equal.
        pipeline.captures[:] = [other for other in pipeline.captures if other is not records]
        pipeline.update_sink()
        pipeline.configured = was_configured
        _set_level(old_level)


atexit.register(shutdown)
with suppress(AttributeError, RuntimeError):
    # Children of multiprocessing end without atexit, but not without this. The interpreter may be
    # ending already when a late import comes here.
    threading._register_atexit(flush)  # type: ignore[attr-defined]
