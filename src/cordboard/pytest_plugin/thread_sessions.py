"""Remembers in which session each thread was started, while a test runs."""

import _thread
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from typing import Any, Final

from cordboard.context import current, variable

_START_FUNCTIONS: Final = (
    (_thread, "start_new_thread"),
    (threading, "_start_new_thread"),
    (threading, "_start_joinable_thread"),  # since Python 3.13
)


class ThreadSessions:
    """The session in which each running thread was started.

    A thread that logs without a session although it was started in one, and in whose context nobody
    has ever bound or unbound a session, has lost it: the service never called ``configure``, or the
    thread is of a kind to which ``configure`` cannot pass the session.
    """

    def __init__(self) -> None:
        self._sessions: dict[int, str] = {}

    def lost_session(self) -> str | None:
        """Return the session in which the calling thread was started, if it has lost it."""
        session = self._sessions.get(threading.get_ident())
        return None if session is None or variable in copy_context() else session

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record the session of each thread that is started within the block.

        All functions that start a thread are replaced meanwhile. ``Thread.start`` alone would miss
        threads of native libraries and of ``_thread`` itself, which are the ones that lose it.
        """
        # The names of private functions differ between versions of Python.
        originals = [(m, n, getattr(m, n)) for m, n in _START_FUNCTIONS if hasattr(m, n)]
        for module, name, original in originals:
            setattr(module, name, partial(self._start, original))
        try:
            yield
        finally:
            for module, name, original in originals:
                setattr(module, name, original)

    def _start(
        self, original: Callable[..., Any], function: Callable[..., Any], *args: Any, **options: Any
    ) -> Any:
        session = current().session_id
        target = function if session is None else partial(self._run, session, function)
        return original(target, *args, **options)

    def _run(self, session: str, function: Callable[..., Any], *args: Any, **options: Any) -> None:
        thread = threading.get_ident()
        self._sessions[thread] = session
        try:
            function(*args, **options)
        finally:
            # The kernel gives the identifier to another thread soon.
            self._sessions.pop(thread, None)
