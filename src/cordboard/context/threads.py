"""Carries the context where the language drops it: into threads, executors and callbacks.

``contextvars`` follow tasks by themselves, but a new thread starts empty (until Python 3.14) and a
pool's thread has whatever it had before. ``install`` makes ``Thread.start`` hand over what is bound
there, and every executor's ``submit`` what is bound at that call, be it nothing: so a worker that
was started within one session never speaks for it in another.
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


class _Carried:
    """Stands in for a thread's ``run`` until it is called."""

    __slots__ = ("_context", "_run", "_thread")

    def __init__(self, thread: threading.Thread, context: Context) -> None:
        self._thread = thread
        self._run = thread.run
        self._context = context

    def __call__(self) -> None:
        del self._thread.run  # the class's own comes back
        del self._thread
        variable.set(self._context)
        self._run()


def carry(function: Callable[P, R]) -> Callable[P, R]:
    """Return ``function`` with what is bound now, for a library that calls it from its own thread.

    Args:
        function: A callback.
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
    """Make threads and executors carry the context; again is harmless."""
    threading.Thread.start = _start  # type: ignore[method-assign]
    if _FUTURES in sys.modules:
        _install_executor()
    else:
        run_after_import(_FUTURES, _install_executor)


def _start(self: threading.Thread) -> None:
    context = variable.get()
    if context is not None and not self.ident:
        self.run = _Carried(self, context)  # type: ignore[method-assign]
    _thread_start(self)


def _install_executor() -> None:
    executor = sys.modules[_FUTURES].ThreadPoolExecutor
    submit = executor.submit
    if getattr(submit, "carries", False):
        return

    @wraps(submit)
    def carrying(self: Any, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return submit(self, _call, variable.get(), function, *args, **kwargs)

    carrying.carries = True  # type: ignore[attr-defined]
    executor.submit = carrying


def _call(
    context: Context | None, function: Callable[..., Any], /, *args: Any, **kwargs: Any
) -> Any:
    token = variable.set(context)
    try:
        return function(*args, **kwargs)
    finally:
        variable.reset(token)
