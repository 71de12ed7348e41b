"""What is recorded of an exception that a bot raised: its type and place always, its text with consent."""

from typing import Any

import pytest

from cordboard.contract.call_events import Content
from cordboard.runner.bot_crash import record_crash, without_text
from lines_support import Lines, lines

__all__ = ["lines"]

WORDS = "My name is Ada"


def fail(kind: str) -> None:
    """Raise an exception with words in its text, and in those of its causes."""
    heard = WORDS
    if kind in {"cause", "context"}:
        try:
            int(heard)
        except ValueError as cause:
            if kind == "cause":
                raise LookupError(heard) from cause
            raise LookupError(heard)  # noqa: B904
    if kind == "group":
        raise ExceptionGroup(heard, [ValueError(heard), ExceptionGroup(heard, [KeyError(heard)])])
    error = SystemExit(heard) if kind == "exit" else LookupError(heard)
    error.add_note(heard)
    raise error


@pytest.mark.parametrize("kind", ["cause", "context", "group", "notes", "exit"])
@pytest.mark.parametrize("content", ["off", "words", "all"])
def test_text_of_an_exception_needs_consent(
    lines: Lines, capsys: pytest.CaptureFixture[str], kind: str, content: Content
) -> None:
    """Without it the record has the types and the places; the text is on standard error, as Python prints it."""
    with pytest.raises((Exception, SystemExit)) as raised:
        fail(kind)
    error = raised.value
    crash = record_crash(error, content, 4096)
    (line,) = [line for line in lines() if line.get("event") == "bot.crashed"]
    assert line["error"]["type"] == type(error).__name__
    assert "in fail" in line["error"]["stack"]
    assert (WORDS in str(line)) == (WORDS in crash.detail) == (content != "off")
    assert (WORDS in capsys.readouterr().err) == (content == "off")
    if kind in {"cause", "context"}:
        assert "ValueError" in line["error"]["stack"]
    if kind == "group":
        assert "KeyError" in line["error"]["stack"]
    if content == "off":
        assert crash.detail == type(error).__name__


@pytest.mark.parametrize(
    ("error", "detail", "is_out_of_memory"),
    [
        (SystemExit(4), "SystemExit: 4", False),
        (MemoryError(), "MemoryError (the limit", True),
        (RuntimeError("CUDA out of memory"), "RuntimeError", False),
    ],
)
def test_facts_need_no_consent(
    lines: Lines, error: BaseException, detail: str, is_out_of_memory: bool
) -> None:
    """An exit status; and that memory ran out, which is told by the type and never by the text."""
    crash = record_crash(error, "off", 4096)
    assert crash.detail.startswith(detail)
    assert crash.is_out_of_memory is is_out_of_memory
    (line,) = [line for line in lines() if line.get("event") == "bot.crashed"]
    assert line.get("meta", {}).get("out_of_memory", False) is is_out_of_memory


def test_cause_that_is_a_memory_error_counts(lines: Lines) -> None:
    """Such as that of a module that cannot be imported."""
    error = ImportError("broken")
    error.__cause__ = MemoryError()
    assert record_crash(error, "off", 4096).is_out_of_memory


def test_exceptions_that_name_each_other_have_an_end() -> None:
    """A circle of causes, and an exception whose text raises."""

    class MeanError(Exception):
        def __str__(self) -> str:
            raise LookupError("expected error")

    first, second = MeanError(), MeanError()
    first.__cause__, second.__cause__ = second, first
    found: Any = without_text(first)
    depth = 0
    while found is not None:
        assert type(found).__name__ == "MeanError"
        found, depth = found.__cause__, depth + 1
    assert depth < 20
    assert record_crash(first, "words", 1).detail.startswith("MeanError")
