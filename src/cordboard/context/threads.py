"""Carries the context into threads, executors and callbacks, where Python does not.

``contextvars`` follow tasks, but a new thread starts without a context (until Python 3.14), and a
thread of a pool keeps the one that it was started with. ``install`` makes ``Thread.start`` pass on
what is bound there, and ``submit`` of every executor what is bound at that call, even if that is
nothing. So a worker that was started in one session never logs for it during another.
"""

import sys
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

from cordboard.context import Context, variable
from cordboard.context.import_hooks import run_after_import

P = ParamSpec("P")
R = TypeVar("R")

_FUTURES: Final = "concurrent.futures.thread"
_thread_start: Final = threading.Thread.start


class _RunInContext:
    """Replaces a thread's ``run`` until it is called; binds the context first.

    An attribute of the thread rather than a wrapper of its target: subclasses override ``run``.
    """

    __slots__ = ("_context", "_run", "_thread")

    def __init__(self, thread: threading.Thread, context: Context) -> None:
        self._thread = thread
        self._run = thread.run
        self._context = context

    def __call__(self) -> None:
        del self._thread.run  # uncovers the method of the class
        del self._thread  # a reference cycle would keep the thread object alive
        variable.set(self._context)
        self._run()


def carry(function: Callable[P, R]) -> Callable[P, R]:
    """Return `function` with the context that is bound now.

    Use it for a callback that a library calls from a thread which it has started itself.

    Args:
        function: A callback.

    Returns:
        A function with the same signature that binds the context while it runs.

    Example:
        ```python
        recorder.on_data = carry(handle_data)
        ```
    """
    context = variable.get()

    @wraps(function)
    def carried(*args: P.args, **kwargs: P.kwargs) -> R:
        token = variable.set(context)
        try:
            return function(*args, **kwargs)
        finally:
            variable.reset(token)

    return carried


def install() -> None:
    """Make threads and executors carry the context; a second call changes nothing."""
    threading.Thread.start = _start  # type: ignore[method-assign]
    if _FUTURES in sys.modules:
        _install_executor()
    else:
        run_after_import(_FUTURES, _install_executor)


def _start(self: threading.Thread) -> None:
    # A thread that runs already raises in start(); its run must not be replaced then.
    context = variable.get()
    if context is not None and not self.ident:
        self.run = _RunInContext(self, context)  # type: ignore[method-assign]
    _thread_start(self)


def _install_executor() -> None:
    # ``map`` and ``run_in_executor`` call ``submit`` as well.
    executor = sys.modules[_FUTURES].ThreadPoolExecutor
    submit = executor.submit
    if getattr(submit, "carries", False):
        return

    @wraps(submit)
    def carrying(self: Any, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return submit(self, _call, variable.get(), function, *args, **kwargs)

    carrying.carries = True  # type: ignore[attr-defined]
    executor.submit = carrying


# A function with arguments instead of ``carry``: that would cost a wrapper for each task.
def _call(
    context: Context | None, function: Callable[..., Any], /, *args: Any, **kwargs: Any
) -> Any:
    token = variable.set(context)
    try:
        return function(*args, **kwargs)
    finally:
        variable.reset(token)
