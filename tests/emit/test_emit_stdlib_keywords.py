"""Keywords of the standard library and of structlog have their usual meaning."""

import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest
import structlog
from loguru import logger as loguru

from cordboard import emit
from lines_support import configure_again

Lines = Callable[[], list[dict[str, Any]]]
log = emit.get_logger("gateway")


def handled() -> BaseException:
    """Return an exception that was raised, with its traceback."""
    try:
        vars(emit)["nothing"]
    except KeyError as error:
        return error
    raise AssertionError


def test_exc_info_true_logs_the_exception_being_handled(lines: Lines) -> None:
    """exc_info=True writes the exception that is being handled as ``error``."""
    try:
        vars(emit)["nothing"]
    except KeyError:
        log.error("Lookup failed", exc_info=True, table="rooms")  # noqa: G201 - the subject
    (record,) = lines()
    assert record["meta"] == {"table": "rooms"}
    assert record["error"]["type"] == "KeyError"
    assert "test_emit_stdlib_keywords.py" in record["error"]["stack"]


@pytest.mark.parametrize("form", [lambda e: e, lambda e: (type(e), e, e.__traceback__)])
@pytest.mark.parametrize("method", ["debug", "info", "warn", "warning", "error", "exception"])
def test_exc_info_takes_an_exception_or_a_triple(
    lines: Lines, method: str, form: Callable[[BaseException], object]
) -> None:
    """At every level."""
    getattr(log, method)("Failed", exc_info=form(handled()))
    (record,) = lines()
    assert record["error"]["type"] == "KeyError"
    assert "handled" in record["error"]["stack"]
    assert "meta" not in record


@pytest.mark.parametrize("nothing", [None, False, True, (None, None, None), sys.exc_info()])
def test_exc_info_without_an_exception_adds_nothing(lines: Lines, nothing: object) -> None:
    """If no exception is being handled, the record has neither an error nor a meta about it."""
    log.error("Failed", exc_info=nothing)
    (record,) = lines()
    assert "error" not in record
    assert "meta" not in record


def test_other_values_of_exc_info_are_kept_in_meta(lines: Lines) -> None:
    """A value of another type, and a second exception, stay in meta."""
    log.error("Failed", exc_info="yes, please")  # noqa: LOG014 - the subject
    log.error("Failed", error=ValueError("first"), exc_info=KeyError("second"))
    other, both = lines()
    assert other["meta"] == {"exc_info": "yes, please"}
    assert both["error"]["type"] == "ValueError"
    assert both["meta"] == {"exc_info": "KeyError('second')"}


def test_exception_prefers_its_arguments(lines: Lines) -> None:
    """With exc_info or error, log.exception logs that one, and with exc_info=False none."""
    try:
        vars(emit)["nothing"]
    except KeyError:
        log.exception("Failed", exc_info=ValueError("given"))
        log.exception("Failed", error=ValueError("given"))
        log.exception("Failed", exc_info=False)  # noqa: LOG007 - the subject
    first, second, third = lines()
    assert first["error"]["message"] == second["error"]["message"] == "given"
    assert "error" not in third


def test_stack_info_adds_the_stack_of_the_caller(lines: Lines) -> None:
    """meta.stack ends at the call, without frames of the logger."""
    log.info("Here", stack_info=True, turn=3)
    (record,) = lines()
    assert record["meta"]["turn"] == 3
    stack = record["meta"]["stack"]
    assert stack.rstrip().endswith('log.info("Here", stack_info=True, turn=3)')
    assert "cordboard/emit/" not in stack


def test_extra_is_merged_and_stacklevel_dropped(lines: Lines) -> None:
    """Members of extra become members of meta; a keyword of the call overrides them."""
    log.info("Paid", extra={"amount": 3, "api_key": "k", "turn": 1}, turn=2, stacklevel=2)
    log.info("Paid", extra=[1, 2], stacklevel="two")
    first, second = lines()
    assert first["meta"] == {"turn": 2, "amount": 3, "api_key": "[redacted]"}
    assert second["meta"] == {"extra": [1, 2], "stacklevel": "two"}


def test_bound_keywords_have_their_meaning(lines: Lines) -> None:
    """A keyword that a logger is bound to counts as one of the call."""
    log.bind(exc_info=handled(), extra={"a": 1}).warn("Failed")
    (record,) = lines()
    assert record["error"]["type"] == "KeyError"
    assert record["meta"] == {"a": 1}


def test_same_name_within_a_value_has_no_meaning(lines: Lines) -> None:
    """Only keywords of the call are special; the members of a value are written as they are."""
    log.info("Seen", record={"exc_info": True, "extra": {"a": 1}})
    log.error("Failed", exc_info=handled())
    seen, failed = lines()
    assert seen["meta"] == {"record": {"exc_info": True, "extra": {"a": 1}}}
    assert failed["error"]["type"] == "KeyError"


def test_bridges_keep_exception_and_stack(lines: Lines) -> None:
    """The bridges of loguru and structlog do as well as that of logging."""
    structlog.reset_defaults()
    configure_again()
    structlog.get_logger().warning("Failed", exc_info=handled(), stack_info=True)
    loguru.warning("Failed", exc_info=handled(), extra={"a": 1})
    logging.getLogger("x").warning("Failed", exc_info=handled(), stack_info=True)
    structlog.reset_defaults()
    records = lines()
    assert [record["error"]["type"] for record in records] == ["KeyError"] * 3
    assert [set(record["meta"]) for record in records] == [{"stack"}, {"at", "a"}, {"stack"}]
    assert "test_emit_stdlib_keywords.py" in records[0]["meta"]["stack"]
    assert "site-packages/structlog" not in records[0]["meta"]["stack"]
