"""Asking several shards at once, of which some may be away."""

import asyncio
from collections.abc import Awaitable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from cordboard.contract.errors import StoreUnavailableError

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
