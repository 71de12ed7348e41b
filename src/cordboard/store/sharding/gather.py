"""Running one operation in several shards at once, of which some may be unreachable."""

import asyncio
from collections.abc import Awaitable, Coroutine, Iterable, Sequence
from typing import Any, Final, TypeVar

from cordboard.contract.errors import StoreUnavailableError

# A hundred times what a healthy shard takes. A join of one shard must not wait longer for another.
SOON_S: Final = 0.5

_T = TypeVar("_T")


async def gather_replies(
    operations: Iterable[Awaitable[_T] | Coroutine[Any, Any, _T]],
) -> list[_T | BaseException]:
    """Run all ``operations`` and return their results in order.

    The ``StoreUnavailableError`` of a shard takes the place of its result; any other error is raised.
    """
    replies = await asyncio.gather(*operations, return_exceptions=True)
    for reply in replies:
        if isinstance(reply, BaseException) and not isinstance(reply, StoreUnavailableError):
            raise reply
    return replies


async def gather_replies_soon(
    operations: Iterable[Awaitable[_T] | Coroutine[Any, Any, _T]],
) -> list[_T | BaseException]:
    """Run all ``operations`` like ``gather_replies``; a shard that is late counts as unreachable."""
    return await gather_replies(_soon(operation) for operation in operations)


async def wait_for_any(operations: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Wait until all ``operations`` have succeeded, or soon after one has.

    Raises:
        Exception: The first error, if every operation fails.
    """
    tasks = [asyncio.create_task(operation) for operation in operations]
    try:
        await asyncio.wait(tasks, timeout=SOON_S)
        waiting = {task for task in tasks if not task.done()}
        while waiting and not any(map(_has_succeeded, tasks)):
            _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    errors = [result for result in results if isinstance(result, Exception)]
    if len(errors) == len(tasks):
        raise errors[0]


def _has_succeeded(task: asyncio.Task[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


async def _soon(operation: Awaitable[_T]) -> _T:
    try:
        async with asyncio.timeout(SOON_S):
            return await operation
    except TimeoutError as error:
        raise StoreUnavailableError("A shard did not answer in time.") from error


def require_all(replies: Sequence[_T | BaseException]) -> list[_T]:
    """Return ``replies``; raise the first error among them."""
    for reply in replies:
        if isinstance(reply, BaseException):
            raise reply
    return values(replies)


def require_any(replies: Sequence[_T | BaseException]) -> list[_T]:
    """Return those of ``replies`` that are no errors; raise the first error if all are errors."""
    return values(replies) or require_all(replies)


def values(replies: Sequence[_T | BaseException]) -> list[_T]:
    """Return those of ``replies`` that are no errors."""
    return [reply for reply in replies if not isinstance(reply, BaseException)]
