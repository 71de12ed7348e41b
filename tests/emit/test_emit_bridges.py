"""Records of other libraries are written in the same format, with the context of their time."""

import logging
import logging.config
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
from loguru import logger as loguru

from cordboard import emit
from cordboard.contract.record import LEVELS
from cordboard.emit.bridges import structlog_bridge
from lines_support import configure_again

Lines = Callable[[], list[dict[str, Any]]]
standard = logging.getLogger("uvicorn.error")


@pytest.fixture(autouse=True)
def _structlog_unconfigured() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def run(code: str) -> tuple[list[dict[str, Any]], str]:
    """Run a program; return its records and its stderr."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return [msgspec.json.decode(line) for line in done.stdout.splitlines()], done.stderr.decode()


def test_standard_logging_becomes_records(lines: Lines) -> None:
    """Level, arguments, extras, exception and session of a record of logging are kept."""
    with emit.session_context(session_id="call-7"):
        standard.critical("Lost %d of %s", 3, "lines", extra={"retry": 2, "api_key": "k"})
        try:
            vars(emit)["nothing"]
        except KeyError:
            standard.exception("Failed")
    lost, failed = lines()
    assert (lost["level"], lost["message"], lost["tag"]) == ("error", "Lost 3 of lines", "uvicorn")
    assert lost["meta"] == {"retry": 2, "api_key": "[redacted]", "logger": "uvicorn.error"}
    assert lost["sessionId"] == failed["sessionId"] == "call-7"
    assert failed["error"]["type"] == "KeyError"


def test_standard_logging_with_wrong_arguments_is_logged() -> None:
    """A record whose arguments do not fit its message contains both, and raises nothing."""
    records, stderr = run(
        """
        import logging
        from cordboard import emit
        emit.configure("x", format="json")
        logging.getLogger("x").warning("Only %d", "text")
        """
    )
    assert records[0]["message"] == "Only %d ('text',)"
    assert stderr == ""


def test_later_dictconfig_loses_no_record(lines: Lines, capfd: pytest.CaptureFixture[str]) -> None:
    """Records of loggers that do not propagate, and have handlers of their own, are written once."""
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"console": {"class": "logging.StreamHandler", "stream": "ext://sys.stderr"}},
            "loggers": {"uvicorn": {"handlers": ["console"], "propagate": False, "level": "INFO"}},
        }
    )  # fmt: skip
    try:
        standard.info("Started")
    finally:
        standard.parent.handlers.clear()  # type: ignore[union-attr]
        standard.parent.propagate = True  # type: ignore[union-attr]
    assert [record["message"] for record in lines()] == ["Started"]
    assert capfd.readouterr().err == ""


def test_handlers_beside_the_console_still_get_records(
    lines: Lines, caplog: pytest.LogCaptureFixture
) -> None:
    """Handlers of files and test tools work as before."""
    standard.warning("Both")
    assert caplog.messages == ["Both"]
    assert [record["message"] for record in lines()] == ["Both"]


def test_python_warnings_become_records(lines: Lines) -> None:
    """A warning of the interpreter has level warn."""
    logging.captureWarnings(capture=False)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("Old", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(capture=False)
    (record,) = lines()
    assert (record["level"], record["tag"]) == ("warn", "warnings")
    assert "DeprecationWarning: Old" in record["message"]


def test_messages_of_interpreter_and_event_loop_become_records() -> None:
    """Warnings, unretrieved errors of tasks, and records of libraries are written as records."""
    records, stderr = run(
        """
        import asyncio, gc, warnings
        from cordboard import emit
        emit.configure("x", format="json")
        warnings.warn("Old")

        async def broken(): raise LookupError("nobody asks")
        async def main():
            with emit.session_context(session_id="call-7"):
                asyncio.create_task(broken())
            await asyncio.sleep(0)
            gc.collect()
        asyncio.run(main())
        import logging
        logging.getLogger("redis.asyncio").info("Connected")
        """
    )
    records_shown = [(r["level"], r["tag"], r.get("error", {}).get("type")) for r in records]
    assert records_shown == [
        ("warn", "warnings", None), ("error", "asyncio", "LookupError"), ("info", "redis", None),
    ]  # fmt: skip
    assert stderr == ""


def test_loguru_becomes_records(lines: Lines) -> None:
    """Levels, extras, contextualize, formatting and opt(exception) of loguru are kept."""
    with emit.session_context(session_id="call-7"), loguru.contextualize(turn=3):
        loguru.success("Connected {}", "now", peer="p")
        loguru.trace("Fine")
        loguru.bind(password="x").opt(exception=ValueError("bad")).critical("Broke")
    connected, fine, broke = lines()
    assert (connected["level"], connected["message"]) == ("info", "Connected now")
    assert connected["meta"]["turn"] == 3
    assert connected["meta"]["peer"] == "p"
    assert connected["meta"]["at"].startswith(f"{__name__}:test_loguru_becomes_records:")
    assert fine["level"] == "debug"
    assert (broke["level"], broke["error"]["type"]) == ("error", "ValueError")
    assert broke["meta"]["password"] == "[redacted]"
    assert {r["sessionId"] for r in (connected, fine, broke)} == {"call-7"}


def test_loguru_bridge_survives_remove(lines: Lines, capfd: pytest.CaptureFixture[str]) -> None:
    """The calls of Pipecat's runner at its start lose no record, and print none twice."""
    loguru.remove()
    number = loguru.add(sys.stderr, level="DEBUG")
    loguru.info("One")
    loguru.remove(number)
    loguru.info("Two")
    loguru.configure(handlers=[{"sink": sys.stdout}])
    loguru.info("Three")
    with pytest.raises(ValueError, match="no existing handler"):
        loguru.remove(4711)
    assert [record["message"] for record in lines()] == ["One", "Two", "Three"]
    assert capfd.readouterr() == ("", "")


LOGURU_VERSIONS = {"0.7.0", "0.7.2", "0.7.3"}
"""The versions of loguru with which all tests of this file have passed."""


def test_installed_loguru_is_a_verified_version() -> None:
    """The bridge replaces loguru's private table of handlers: look at it again for a new version.

    It holds if ``Logger.add``, ``remove`` and ``_log`` use ``_core.handlers`` as ``HandlerTable``
    says, and a sink on a stream has ``_sink._stream``. Then add the version here.
    """
    assert version("loguru") in LOGURU_VERSIONS


def test_failing_bridge_is_logged_and_stops_nothing() -> None:
    """If the table has another form, one failure is logged and the program continues."""
    records, stderr = run(
        """
        import loguru
        class Table(dict): items = None
        loguru.logger._core.handlers = Table()
        from cordboard import emit
        emit.configure("x", format="json")
        emit.get_logger("x").info("Goes on")
        """
    )
    assert [record["message"] for record in records] == [
        "A log record could not be written", "Goes on",
    ]  # fmt: skip
    assert records[0]["error"]["type"] == "TypeError"
    assert stderr == ""


def test_other_sinks_of_loguru_still_work(lines: Lines) -> None:
    """A sink beside the console, such as Pipecat's, gets its records and can be removed."""
    seen: list[str] = []
    number = loguru.add(lambda message: seen.append(message.record["message"]), level="INFO")
    loguru.info("One")
    loguru.remove(number)
    loguru.info("Two")
    assert seen == ["One"]
    assert len(lines()) == 2


def test_structlog_becomes_records(lines: Lines) -> None:
    """Bound values, context variables and exc_info of structlog are kept."""
    with emit.session_context(session_id="call-7"), structlog.contextvars.bound_contextvars(a=1):
        log = structlog.get_logger(tag="billing").bind(b=2)
        log.info("Paid", c=3)
        try:
            vars(emit)["nothing"]
        except KeyError:
            log.exception("Failed")
    paid, failed = lines()
    assert (paid["message"], paid["tag"], paid["meta"]) == (
        "Paid",
        "billing",
        {"a": 1, "b": 2, "c": 3},
    )
    assert (failed["level"], failed["error"]["type"]) == ("error", "KeyError")
    assert paid["sessionId"] == "call-7"


def test_structlog_processor_works_in_the_programs_list(lines: Lines) -> None:
    """A program with its own processors puts this one last."""
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog_bridge.processor],
        wrapper_class=structlog.make_filtering_bound_logger(0),
    )
    structlog.get_logger().warning("Mine", x=1)
    (record,) = lines()
    assert (record["level"], record["message"], record["meta"]) == ("warn", "Mine", {"x": 1})


def test_configured_structlog_is_left_alone(lines: Lines) -> None:
    """A configuration that the program made before is not replaced."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory(), processors=[])
    structlog_bridge.install(0)
    assert structlog.get_config()["processors"] == []


NUMBERS = {1: "debug", 5: "debug", 15: "debug", 25: "info", 35: "warn", 55: "error"}


def log_numbers() -> None:
    """Log one line at each number of ``NUMBERS``, with each library."""
    for number in NUMBERS:
        standard.log(number, "standard")
        logging.log(number, "root")  # noqa: LOG015 - the bridge's own subject
        loguru.log(number, "loguru")
        structlog.get_logger().log(number, "structlog")


@pytest.mark.parametrize("level", ["debug", "info", "warn", "error"])
def test_numeric_levels_map_to_the_level_below(lines: Lines, level: str) -> None:
    """A number counts as the level at or below it, and one below DEBUG as debug, in all libraries."""
    structlog.reset_defaults()
    configure_again(level)
    standard.setLevel(1)
    try:
        log_numbers()
    finally:
        standard.setLevel(logging.NOTSET)
    shown = [expected for expected in NUMBERS.values() if LEVELS[expected] >= LEVELS[level]]
    for library in ("standard", "root", "loguru", "structlog"):
        assert [r["level"] for r in lines() if r["message"] == library] == shown


async def test_structlog_alog_takes_any_number(lines: Lines) -> None:
    """The same is true for structlog's ``alog``."""
    structlog.reset_defaults()
    configure_again()
    await structlog.get_logger().alog(35, "structlog", a=1)
    (record,) = (record for record in lines() if record["tag"] == "structlog")
    assert (record["level"], record["meta"]) == ("warn", {"a": 1})


def test_debug_level_does_not_enable_uvicorns_trace() -> None:
    """With LOG_LEVEL=debug uvicorn does not log every ASGI message."""
    records, _ = run(
        """
        import logging
        from cordboard import emit
        emit.configure("x", format="json", level="debug")
        uvicorn = logging.getLogger("uvicorn.error")
        assert uvicorn.getEffectiveLevel() == logging.DEBUG
        assert logging.getLogger("other").isEnabledFor(5)
        logging.getLogger("uvicorn").setLevel(5)  # what its --log-level trace does
        uvicorn.log(5, "Traced")
        """
    )
    assert [record["level"] for record in records] == ["debug"]


def test_libraries_are_bridged_at_their_import() -> None:
    """``configure`` imports none of them; a later import is bridged all the same."""
    records, stderr = run(
        """
        import sys
        from cordboard import emit
        emit.configure("bot", format="json")
        assert not {"loguru", "structlog", "asyncio"} & set(sys.modules), "imported too early"
        from loguru import logger
        import structlog
        logger.info("Loguru")
        logger.debug("Too low")
        structlog.get_logger().info("Structlog")
        assert logger.__module__ == "loguru._logger" and sys.modules["loguru"].__loader__.get_source
        """
    )
    assert [record["message"] for record in records] == ["Loguru", "Structlog"]
    assert stderr == ""


def test_import_loads_no_heavy_module() -> None:
    """The import loads neither asyncio nor logging nor the encoder."""
    run(
        """
        import sys
        import cordboard.emit, cordboard
        heavy = {"asyncio", "logging", "msgspec", "threading", "typing_extensions"} & set(sys.modules)
        assert not heavy, heavy
        """
    )


def test_logs_command_does_not_load_the_logger() -> None:
    """`cordboard logs --help` imports neither the logging library nor its encoder."""
    code = """
import atexit, sys
names = ("cordboard.emit", "msgspec", "logging", "asyncio")
atexit.register(lambda: print(*[n for n in names if n in sys.modules], file=sys.stderr))
from cordboard.cli import main
main(["logs", "--help"])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert "usage: cordboard logs" in done.stdout
    assert (done.returncode, done.stderr) == (0, "\n")


def test_pipecat_bot_logs_records(tmp_path: Path) -> None:
    """A file that begins like Pipecat's examples writes records, also from threads."""
    bot = tmp_path / "bot.py"
    bot.write_text(
        textwrap.dedent(
            """
            import sys
            from concurrent.futures import ThreadPoolExecutor
            from loguru import logger
            logger.remove(0)
            logger.add(sys.stderr, level="DEBUG")

            def run():
                logger.info("Starting")
                with ThreadPoolExecutor(1) as pool:
                    pool.submit(logger.info, "In a thread").result()
            """
        )
    )
    records, stderr = run(
        f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        from cordboard import emit
        emit.configure("bot", format="json")
        import bot
        with emit.session_context(session_id="call-7"):
            bot.run()
        """
    )
    assert [(r["message"], r["sessionId"]) for r in records] == [
        ("Starting", "call-7"),
        ("In a thread", "call-7"),
    ]
    assert stderr == ""
