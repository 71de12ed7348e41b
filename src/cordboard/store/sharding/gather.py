"""Asks several shards at once, some of which may be unreachable."""

import asyncio
from collections.abc import Awaitable, Coroutine, Iterable, Sequence
from typing import Any, Final, TypeVar

from cordboard.contract.errors import StoreUnavailableError

SOON_S: Final = 0.5  # a hundred times what a shard takes that is well

_T = TypeVar("_T")


async def ask_all(
    works: Iterable[Awaitable[_T] | Coroutine[Any, Any, _T]],
) -> list[_T | BaseException]:
    """Do all; where a shard is away its error stands for its answer, all else is raised."""
    answers = await asyncio.gather(*works, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, StoreUnavailableError):
            raise answer
    return answers


async def ask_all_soon(
    works: Iterable[Awaitable[_T] | Coroutine[Any, Any, _T]],
) -> list[_T | BaseException]:
    """Do the same for what must not hold up a join of another shard: who is late counts as away."""
    return await ask_all(_soon(work) for work in works)


async def wait_for_some(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Return when all have been done, or soon after one has; raise the first error when none is."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, timeout=SOON_S)
        waiting = {task for task in tasks if not task.done()}
        while waiting and not any(map(_is_fine, tasks)):
            _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
    errors = [one for one in answers if isinstance(one, Exception)]
    if len(errors) == len(tasks):
        raise errors[0]


def _is_fine(task: asyncio.Task[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


async def _soon(work: Awaitable[_T]) -> _T:
    try:
        return await asyncio.wait_for(work, SOON_S)
    except TimeoutError as error:
        raise StoreUnavailableError("A shard did not answer soon.") from error


def all_values(answers: Sequence[_T | BaseException]) -> list[_T]:
    """Return the answers; raises the first error among them."""
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return [answer for answer in answers if not isinstance(answer, BaseException)]


def some_value(answers: Sequence[_T | BaseException]) -> None:
    """Raise the first error where there is no answer at all."""
    if all(isinstance(answer, BaseException) for answer in answers):
        all_values(answers)
