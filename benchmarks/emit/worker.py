"""Runs one logger once: writes N lines to stdout and the figures, as JSON, to stderr.

Usage: worker.py KIND lines|disabled|tasks N
"""

import asyncio
import json
import logging
import sys
import time
from collections.abc import Callable
from importlib import import_module

SESSION = {"session_id": "call-7", "user_id": "u-1", "user_name": "Ada"}
Log = Callable[[int], None]
Flush = Callable[[], object]
Made = tuple[Log, Log, Flush]


def cordboard() -> Made:
    from cordboard import emit

    emit.configure("bench", format="json", bridges=False)
    emit.bind_process(emit.Context(**SESSION))  # type: ignore[arg-type]
    log = emit.get_logger("gateway")
    return (
        lambda i: log.info("Join accepted", attempt=i, reused=False, runner="runner-1", ms=12.5),
        lambda i: log.debug("Join accepted", attempt=i, reused=False, runner="runner-1", ms=12.5),
        emit.flush,
    )


def cordboard_direct() -> Made:
    """One write per line, by the caller: the alternative to a loss of up to 50 ms of lines."""
    from cordboard import emit
    from cordboard.emit.pipeline import pipeline

    made = cordboard()
    assert pipeline.output is not None
    pipeline.output.threaded = False
    return (*made[:2], emit.flush)


def cordboard_unredacted() -> Made:
    """Without redaction and any check of values, to measure their cost."""
    import msgspec

    from cordboard.emit import render

    encode = msgspec.json.Encoder().encode

    def body(_event: object, meta: object, _error: object) -> str:
        return f',"meta":{encode(meta).decode()}'

    render.body_json = body  # type: ignore[assignment]
    return cordboard()


def cordboard_otel() -> Made:
    """With OpenTelemetry imported and no active span."""
    import_module("opentelemetry.trace")
    return cordboard()


def cordboard_span() -> Made:
    """Within an active span, whose ids are in each line."""
    trace = import_module("opentelemetry.trace")
    context = trace.SpanContext(0xABC, 0xDEF, is_remote=False)
    import_module("opentelemetry.context").attach(
        trace.set_span_in_context(trace.NonRecordingSpan(context))
    )
    return cordboard()


def cordboard_pretty() -> Made:
    from cordboard import emit

    made = cordboard()
    emit.configure("bench", format="pretty", bridges=False)
    return made


def cordboard_watched() -> Made:
    """With the checks of ``--cordboard-log``."""
    from cordboard.emit.pipeline import pipeline
    from cordboard.pytest_plugin.line_check import call_site, schema_violations

    def watch(line: bytes) -> None:
        call_site()
        assert not [*schema_violations(line)]

    made = cordboard()
    pipeline.add_observer(watch)
    return made


def structlog_orjson() -> Made:
    orjson = import_module("orjson")
    import structlog

    structlog.configure(
        cache_logger_on_first_use=True,
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        logger_factory=structlog.BytesLoggerFactory(file=sys.stdout.buffer),
    )
    structlog.contextvars.bind_contextvars(**SESSION)
    log = structlog.get_logger().bind()
    meta = {"reused": False, "runner": "runner-1", "ms": 12.5}
    return (
        lambda i: log.info("Join accepted", meta={"attempt": i, **meta}),
        lambda i: log.debug("Join accepted", attempt=i, reused=False, runner="runner-1", ms=12.5),
        sys.stdout.flush,
    )


def logging_handler(formatter: logging.Formatter) -> Made:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    log = logging.Logger("bench", logging.INFO)  # noqa: LOG001 - none of the program's own
    log.addHandler(handler)
    meta = {"reused": False, "runner": "runner-1", "ms": 12.5}
    return (
        lambda i: log.info("Join accepted", extra={**SESSION, "meta": {"attempt": i, **meta}}),
        lambda i: log.debug("Join accepted", extra={**SESSION, "meta": {"attempt": i, **meta}}),
        sys.stdout.flush,
    )


def python_json_logger() -> Made:
    library = import_module("pythonjsonlogger.json")
    return logging_handler(library.JsonFormatter("%(asctime)s %(levelname)s %(message)s"))


def python_json_logger_msgspec() -> Made:
    library = import_module("pythonjsonlogger.msgspec")
    return logging_handler(library.MsgspecFormatter("%(asctime)s %(levelname)s %(message)s"))


def loguru_serialize() -> Made:
    from loguru import logger

    logger.remove()
    logger.add(sys.stdout, level="INFO", serialize=True)
    return loguru_calls(logger)


def loguru_orjson() -> Made:
    orjson = import_module("orjson")
    from loguru import logger

    def sink(message: object) -> None:
        record = message.record  # type: ignore[attr-defined]
        line = {
            "timestamp": record["time"].isoformat(),
            "level": record["level"].name,
            "message": record["message"],
            **record["extra"],
        }
        sys.stdout.buffer.write(orjson.dumps(line) + b"\n")

    logger.remove()
    logger.add(sink, level="INFO", format="{message}")
    return loguru_calls(logger)


def loguru_calls(logger) -> Made:  # type: ignore[no-untyped-def]
    log = logger.bind(**SESSION)
    meta = {"reused": False, "runner": "runner-1", "ms": 12.5}
    return (
        lambda i: log.info("Join accepted", meta={"attempt": i, **meta}),
        lambda i: log.debug("Join accepted", meta={"attempt": i, **meta}),
        sys.stdout.flush,
    )


def bridged() -> None:
    from cordboard import emit

    emit.configure("bench", format="json")
    emit.bind_process(emit.Context(**SESSION))  # type: ignore[arg-type]


def loguru_bridge() -> Made:
    from cordboard import emit

    bridged()
    from loguru import logger

    return (*loguru_calls(logger)[:2], emit.flush)


def logging_bridge() -> Made:
    from cordboard import emit

    bridged()
    log = logging.Logger("bench", logging.INFO)  # noqa: LOG001 - none of the program's own
    meta = {"reused": False, "runner": "runner-1", "ms": 12.5}
    return (
        lambda i: log.info("Join accepted", extra={"meta": {"attempt": i, **meta}}),
        lambda i: log.debug("Join accepted", extra={"meta": {"attempt": i, **meta}}),
        emit.flush,
    )


def structlog_bridge() -> Made:
    from cordboard import emit

    bridged()
    import structlog

    log = structlog.get_logger().bind()
    meta = {"reused": False, "runner": "runner-1", "ms": 12.5}
    return (
        lambda i: log.info("Join accepted", meta={"attempt": i, **meta}),
        lambda i: log.debug("Join accepted", meta={"attempt": i, **meta}),
        emit.flush,
    )


def nothing() -> Made:
    """The time of the benchmark itself: a lambda and its loop."""
    meta = {"reused": False, "runner": "runner-1", "ms": 12.5}

    def say(i: int) -> None:
        dict(meta, attempt=i)

    return (say, lambda _: None, lambda: None)


def per_line_us(say: Log, flush: Flush, lines: int) -> list[float]:
    """Return the wall-clock time per line, and the processor time of all threads."""
    for i in range(lines // 10):
        say(i)
    flush()
    began, used = time.perf_counter(), time.process_time()
    for i in range(lines):
        say(i)
    flush()
    took = time.perf_counter() - began, time.process_time() - used
    return [seconds / lines * 1e6 for seconds in took]


async def four_tasks(say: Log, lines: int) -> list[float]:
    took: list[int] = []

    async def task() -> None:
        for i in range(lines // 4):
            began = time.perf_counter_ns()
            say(i)
            took.append(time.perf_counter_ns() - began)
            await asyncio.sleep(0)

    await asyncio.gather(*(task() for _ in range(4)))
    took.sort()
    return [took[int(len(took) * share)] / 1000 for share in (0.5, 0.99, 0.999)]


def main() -> None:
    kind, mode, lines = sys.argv[1], sys.argv[2], int(sys.argv[3])
    say, disabled, flush = globals()[kind]()
    if mode == "tasks":
        figures = asyncio.run(four_tasks(say, lines))
        flush()
    else:
        figures = per_line_us(say if mode == "lines" else disabled, flush, lines)
    sys.stderr.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
