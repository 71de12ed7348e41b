"""The canary: the same work in two interleaved sessions; no line may be of the other, or of none."""

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Final
from uuid import uuid4

import msgspec

from cordboard.context import bound
from cordboard.emit.witness import caller, watching

_WAIT_S: Final = 60.0


def canary(work: Callable[[str], Any], *, bind: bool = True) -> list[str]:
    """Run ``work(session_id)`` in two interleaved sessions; return what was said wrongly."""
    if inspect.iscoroutinefunction(work):
        return asyncio.run(async_canary(work, bind=bind))
    with _listening() as (sessions, problems):
        _side_by_side(work, sessions, bind=bind)
    return list(dict.fromkeys(problems))


async def async_canary(
    work: Callable[[str], Coroutine[Any, Any, Any]], *, bind: bool = True
) -> list[str]:
    """Do what ``canary`` does, in the loop that is running."""

    async def one(session: str) -> None:
        with bound(session_id=session) if bind else nullcontext():
            await work(session)

    with _listening() as (sessions, problems):
        await asyncio.gather(*(one(session) for session in sessions))
    return list(dict.fromkeys(problems))


@contextmanager
def _listening() -> Iterator[tuple[list[str], list[str]]]:
    """Make two session ids, and note each line of a block that is not of the right one."""
    sessions = [f"canary-{uuid4().hex[:8]}-{letter}" for letter in "ab"]
    problems: list[str] = []

    def look(line: bytes) -> None:
        record = msgspec.json.decode(line)
        said, text = record["sessionId"], line.decode().replace(record["sessionId"], "", 1)
        problems.extend(
            f"{caller()}: a line about {session} is of {said}"
            for session in sessions
            if session in text and session != said
        )
        if said not in sessions:
            problems.append(f"{caller()}: {record['message']!r} has no session, but {said}")

    with watching(look):
        yield sessions, problems


def _side_by_side(work: Callable[[str], Any], sessions: list[str], *, bind: bool) -> None:
    failures: list[BaseException] = []
    together = threading.Barrier(len(sessions))

    def one(session: str) -> None:
        try:
            together.wait(_WAIT_S)
            with bound(session_id=session) if bind else nullcontext():
                work(session)
        except BaseException as failure:  # noqa: BLE001 - raised below, in the test's own thread
            failures.append(failure)

    threads = [threading.Thread(target=one, args=(session,)) for session in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
