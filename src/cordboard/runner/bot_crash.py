"""What is recorded of an exception that ``bot()`` raised: its type always, its text with consent.

The text may repeat what was said in the call. Without consent it stands on the bot's standard error only, where
Python prints an exception that nobody handles.
"""

import contextlib
import sys
import traceback
from dataclasses import dataclass
from typing import Final

from cordboard.contract.call_events import Content
from cordboard.contract.redaction import redact_keys
from cordboard.emit import get_logger
from cordboard.emit.values import safe_text
from cordboard.runner.memory_limit import describe_memory_limit

# The length of an exception's text in the session record; the log line has the whole of it.
ERROR_CHARS: Final = 400

# Exceptions that an exception names as its causes, and so on: more explain nothing.
_DEPTH_MAX: Final = 8

log = get_logger("bot")


@dataclass(frozen=True, slots=True)
class BotCrash:
    """An exception that ended a bot.

    Attributes:
        detail: The exception in the session's record.
        is_out_of_memory: Whether it or its cause is a ``MemoryError``.
    """

    detail: str
    is_out_of_memory: bool


def record_crash(error: BaseException, content: Content, memory_mb: int) -> BotCrash:
    """Log an exception as ``bot.crashed``.

    Args:
        error: The exception.
        content: What may be logged of what was said.
        memory_mb: The memory limit of this process.
    """
    may_have_words = content == "off" and not _is_exit_status(error)
    is_out_of_memory = isinstance(error, MemoryError) or isinstance(error.__cause__, MemoryError)
    log.error(
        "Bot crashed",
        event="bot.crashed",
        error=without_text(error) if may_have_words else error,
        **({"out_of_memory": True} if is_out_of_memory else {}),
    )
    detail = type(error).__name__
    if may_have_words:
        _print(error)
    elif text := safe_text(error):
        detail = redact_keys(f"{detail}: {text}")[:ERROR_CHARS]
    if is_out_of_memory:
        detail += f" ({describe_memory_limit(memory_mb)})"
    return BotCrash(detail, is_out_of_memory)


def without_text(error: BaseException, depth: int = 0) -> BaseException:
    """Return an exception with the type's name, the place and the causes of `error`, and without any text."""
    kind, inner = type(error), []
    if isinstance(error, BaseExceptionGroup) and depth < _DEPTH_MAX:
        inner = [without_text(one, depth + 1) for one in error.exceptions[:_DEPTH_MAX]]
    members = {"__module__": kind.__module__, "traced": getattr(kind, "traced", True)}
    base = BaseExceptionGroup if inner else BaseException
    stand_in = type(kind.__name__, (base,), members)(*(("", inner) if inner else ()))
    stand_in.__traceback__ = error.__traceback__
    if depth < _DEPTH_MAX:
        if error.__cause__ is not None:
            stand_in.__cause__ = without_text(error.__cause__, depth + 1)
        elif error.__context__ is not None and not error.__suppress_context__:
            stand_in.__context__ = without_text(error.__context__, depth + 1)
    result: BaseException = stand_in
    return result


def _is_exit_status(error: BaseException) -> bool:
    """Return whether the text of an exception is a number: the status with which the bot called ``sys.exit``."""
    return isinstance(error, SystemExit) and isinstance(error.code, int)


def _print(error: BaseException) -> None:
    with contextlib.suppress(Exception):  # a __str__ that raises; a bot that has closed the stream
        sys.stderr.write(redact_keys("".join(traceback.format_exception(error))))
        sys.stderr.flush()
