"""Runs the same work in two interleaved sessions, and finds lines that carry the wrong session."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from inspect import iscoroutinefunction
from typing import Any, Final
from uuid import uuid4

import msgspec

from cordboard.context import bound
from cordboard.pytest_plugin.line_check import call_site, observed_lines

# How long one thread waits for the other to start; a machine that is slower than that hangs.
_START_WAIT_S: Final = 60.0


def run_interleaved(work: Callable[[str], Any], *, bind: bool = True) -> list[str]:
    """Run `work` twice at the same time, each with a session id as its argument.

    Args:
        work: A function, which is run in two threads, or a coroutine function, which is run twice
            in one event loop.
        bind: Whether the session is bound while `work` runs.

    Returns:
        One message for each line that carries the wrong session, or none.
    """
    if iscoroutinefunction(work):
        return asyncio.run(run_interleaved_async(work, bind=bind))
    with _collected_problems() as (sessions, problems):
        _run_in_threads(work, sessions, bind=bind)
    return list(dict.fromkeys(problems))


async def run_interleaved_async(
    work: Callable[[str], Coroutine[Any, Any, Any]], *, bind: bool = True
) -> list[str]:
    """Do the same as ``run_interleaved`` in the running event loop.

    Args:
        work: A coroutine function.
        bind: Whether the session is bound while `work` runs.
    """

    async def run_in(session: str) -> None:
        with bound(session_id=session) if bind else nullcontext():
            await work(session)

    with _collected_problems() as (sessions, problems):
        await asyncio.gather(*(run_in(session) for session in sessions))
    return list(dict.fromkeys(problems))


@contextmanager
def _collected_problems() -> Iterator[tuple[list[str], list[str]]]:
    """Yield two session ids, and a list of problems that grows with the lines of the block."""
    sessions = [f"interleaved-{uuid4().hex[:8]}-{letter}" for letter in "ab"]
    problems: list[str] = []

    def check(line: bytes) -> None:
        record = msgspec.json.decode(line)
        session_id = record["sessionId"]
        # Without its own session id, whatever the line still mentions is what it is about.
        text = line.decode().replace(session_id, "", 1)
        problems.extend(
            f"{call_site()}: a line about {session} has session {session_id}"
            for session in sessions
            if session in text and session != session_id
        )
        if session_id not in sessions:
            problems.append(
                f"{call_site()}: {record['message']!r} has session {session_id}, "
                f"expected {' or '.join(sessions)}"
            )

    with observed_lines(check):
        yield sessions, problems


def _run_in_threads(work: Callable[[str], Any], sessions: list[str], *, bind: bool) -> None:
    # Without a barrier the first thread may be done before the second one starts.
    both_started = threading.Barrier(len(sessions))

    def run_in(session: str) -> None:
        both_started.wait(_START_WAIT_S)
        with bound(session_id=session) if bind else nullcontext():
            work(session)

    with ThreadPoolExecutor(len(sessions)) as pool:
        runs = [pool.submit(run_in, session) for session in sessions]
    for run in runs:
        run.result()  # raises in the thread of the test what the work has raised
