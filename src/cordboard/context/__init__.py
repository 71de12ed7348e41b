"""The binding of a session: one ContextVar that holds one immutable context.

A context is bound for a block (``bound``), or for a whole process that serves one session
(``bind_process``); every thread of such a process then has the right session, native ones included.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Context:
    """A session id and what belongs to it; a value that is not known is None, never empty.

    Attributes:
        session_id: The id of the session.
        user_id: The id of the user.
        user_name: The name of the user.
        room: The room, in canonical form.
        epoch: The epoch: the number of this grant of the room.
        traceparent: The trace of the caller, as in the W3C header of this name.
        line: The keys of this context in a log line; set once, by the logger.

    Example:
        ```python
        context = Context(session_id="call-7", user_name="Ada")
        ```
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
"""What a block has bound. ``current`` reads it; the logger does so directly, to save a call."""
process_context: Final[list[Context]] = [EMPTY]
"""What is bound where no block has bound anything. A list of one, so that it can be imported by
name and still be replaced."""


def current() -> Context:
    """Return the context that is bound here.

    Returns:
        The context of the innermost block, else that of the process, else an empty one.

    Example:
        ```python
        with cordboard.session_context(session_id="call-7"):
            cordboard.current_session().session_id  # "call-7"
        ```
    """
    return variable.get() or process_context[0]


@contextmanager
def bound(**values: Any) -> Iterator[Context]:
    """Bind values on top of the current ones for the length of a block.

    Args:
        **values: Fields of ``Context``; None and empty texts leave the outer value as it is.

    Yields:
        The context that is bound within the block.

    Raises:
        TypeError: A name is not a field of ``Context``.

    Example:
        ```python
        with cordboard.session_context(session_id="call-7", user_name="Ada"):
            log.info("Invoice sent")
        ```
    """
    context = merged(current(), **values)
    # A token instead of setting None afterwards: blocks nest.
    token = variable.set(context)
    try:
        yield context
    finally:
        variable.reset(token)


def adopt(**values: Any) -> None:
    """Bind values on top of the current ones for the rest of this task.

    A handler calls it when it has read from the body of a request which session it is about. The
    block around it, such as that of the middleware, ends this binding as well.

    Args:
        **values: Fields of ``Context``; None and empty texts leave the outer value as it is.
    """
    # Without a token: the task's own copy of all variables ends with the task.
    variable.set(merged(current(), **values))


@contextmanager
def bound_context(context: Context) -> Iterator[Context]:
    """Bind exactly `context` for the length of a block, whatever is bound outside."""
    token = variable.set(context)
    try:
        yield context
    finally:
        variable.reset(token)


def bind_process(context: Context) -> None:
    """Bind `context` to all threads and tasks of this process that have not bound one themselves.

    Args:
        context: The context; ``EMPTY`` removes a binding.

    Example:
        ```python
        bind_process(Context(session_id="call-7"))
        ```
    """
    process_context[0] = context


def merged(context: Context, **values: Any) -> Context:
    """Return `context` with other values.

    Args:
        context: The context to start from.
        **values: Fields of ``Context``; None and empty texts leave the value as it is.

    Raises:
        TypeError: A name is not a field of ``Context``.
    """
    # A misspelt field would leave lines without their session, so it is an error at once.
    unknown = [name for name in values if name not in _FIELDS]
    if unknown:
        names = ", ".join(_FIELDS)
        raise TypeError(f"Unknown fields of a context: {', '.join(unknown)}. Fields are {names}.")
    # An empty text in a request or an environment means that the value is not known.
    present = {name: value for name, value in values.items() if value is not None and value != ""}
    return replace(context, **present) if present else context
