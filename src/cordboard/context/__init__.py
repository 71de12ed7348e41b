"""Who is speaking: one ContextVar with one immutable mapping.

A context is bound for a block (``bound``), or for a whole process that serves one session
(``bind_process``), where any thread is then right by construction.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Context:
    """The companions of a session id; an absent value is None, never an empty text.

    Attributes:
        line: How a log line says this context; written once, by the logger, when it first meets it.
    """

    session_id: str | None = None
    user_id: str | None = None
    user_name: str | None = None
    room: str | None = None
    epoch: int | None = None
    traceparent: str | None = None
    line: tuple[str, str] | None = field(default=None, init=False, repr=False, compare=False)


EMPTY: Final = Context()
_FIELDS: Final = tuple(item.name for item in fields(Context) if item.init)
variable: Final[ContextVar[Context | None]] = ContextVar("cordboard_context", default=None)
"""What a block has bound; ``current`` reads it, and so does the logger, without a call."""
process_context: Final[list[Context]] = [EMPTY]
"""What is bound where no block has bound anything."""


def current() -> Context:
    """Return what is bound here: the block's context, else the process's, else an empty one."""
    return variable.get() or process_context[0]


@contextmanager
def bound(**values: Any) -> Iterator[Context]:
    """Bind values over the current ones for the length of a block.

    Args:
        **values: Fields of ``Context``; None and empty texts leave the outer value as it is.

    Raises:
        TypeError: A name is no field of ``Context``.
    """
    context = merged(current(), **values)
    token = variable.set(context)
    try:
        yield context
    finally:
        variable.reset(token)


def adopt(**values: Any) -> None:
    """Bind values over the current ones for the rest of this task: a request learns whose it is.

    Whoever bound what is there now (the middleware of a request) puts an end to it.

    Args:
        **values: Fields of ``Context``; None and empty texts leave the outer value as it is.
    """
    variable.set(merged(current(), **values))


@contextmanager
def bound_context(context: Context) -> Iterator[Context]:
    """Bind exactly this context for the length of a block, whatever is bound outside."""
    token = variable.set(context)
    try:
        yield context
    finally:
        variable.reset(token)


def bind_process(context: Context) -> None:
    """Make ``context`` the one of every thread and task that has bound none of its own."""
    process_context[0] = context


def merged(context: Context, **values: Any) -> Context:
    """Return ``context`` with the given values over it; None and empty texts change nothing."""
    unknown = [name for name in values if name not in _FIELDS]
    if unknown:
        raise TypeError(f"{', '.join(unknown)}: no field of a context; it has {', '.join(_FIELDS)}")
    present = {name: value for name, value in values.items() if value is not None and value != ""}
    return replace(context, **present) if present else context
