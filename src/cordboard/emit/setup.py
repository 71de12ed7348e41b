"""Setting the pipeline up and winding it down: ``configure``, ``flush``, ``shutdown``, ``capture``."""

import atexit
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

from cordboard.context import EMPTY, bind_process, process_context, threads
from cordboard.context.carrier import extract_environment, log_environment
from cordboard.contract.record import LEVELS, level_from_name
from cordboard.emit.logger import enable_levels_from
from cordboard.emit.pipeline import LOG_TAG, pipeline


def configure(
    service: str,
    *,
    fd: int = 1,
    level: str | None = None,
    format: Literal["json", "pretty"] | None = None,  # noqa: A002 - the setting's name
    redact: tuple[str, ...] = (),
    bridges: bool = True,
    carry: bool = True,
    capture_print: bool = False,
    session_from_environment: bool = True,
) -> None:
    """Say once per process who speaks and where lines go.

    Args:
        service: ``gateway``, ``runner``, …, or a name of your own.
        fd: The file descriptor that gets the lines.
        level: ``debug``, ``info``, ``warn`` or ``error``; by default ``LOG_LEVEL``, else ``info``.
        format: ``json`` or ``pretty``; by default ``LOG_FORMAT``, else pretty on a terminal.
        redact: Further names whose values are written as ``[redacted]``.
        bridges: Whether records of logging, loguru and structlog come out in the same form.
        carry: Whether threads and executors carry the session that is bound where they start.
        capture_print: Whether text on ``sys.stdout`` and ``sys.stderr`` becomes raw lines.
        session_from_environment: Whether a process whose environment names a session
            (``BOT_SESSION_ID`` and its companions) is bound to it, unless it is bound already.
    """
    environment = log_environment()
    wanted = level or environment.level or "info"
    known = level_from_name(wanted)
    pipeline.configured = True
    pipeline.name(service, environment.machine)
    pipeline.pretty = _pretty_for(fd, format or environment.format, color=environment.color)
    pipeline.open(fd)
    _set_level(known or "info")
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
    if known is None:
        pipeline.write("warn", "LOG_LEVEL names no level", LOG_TAG, None, {"level": wanted})


def _bind_from_environment() -> None:
    if process_context[0] is not EMPTY:
        return
    found = extract_environment()
    if found.context.session_id is not None:
        bind_process(found.context)
    if found.refused:
        said = {"variables": found.refused_variables}
        pipeline.write("warn", "The environment names a malformed session", LOG_TAG, None, said)


def _set_level(level: str) -> None:
    pipeline.level, pipeline.threshold = level, LEVELS[level]
    enable_levels_from(level)


def _pretty_for(fd: int, form: str | None, *, color: bool) -> Callable[[bytes], bytes] | None:
    terminal = fd >= 0 and os.isatty(fd)
    if form == "json" or (form != "pretty" and not terminal):
        return None
    from cordboard.emit.pretty import painter

    return painter(color=color and terminal)


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
    before = pipeline.level, pipeline.configured
    pipeline.configured = True
    _set_level(level_from_name(level) or "debug")
    pipeline.captures.append(records)
    pipeline.redirect()
    try:
        yield records
    finally:
        # By identity: two captures that caught the same are equal.
        pipeline.captures[:] = [other for other in pipeline.captures if other is not records]
        pipeline.redirect()
        pipeline.configured = before[1]
        _set_level(before[0])


atexit.register(shutdown)
with suppress(AttributeError, RuntimeError):
    # The children of multiprocessing end without atexit, but not without this.
    threading._register_atexit(flush)  # type: ignore[attr-defined]
