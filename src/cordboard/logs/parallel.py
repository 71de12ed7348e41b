"""Threads: for work that waits, and for what is read and searched in C."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Final, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

HANDS: Final = max(1, min(2, os.cpu_count() or 1))


def spread(
    work: Callable[[Item], Result], items: Iterable[Item], hands: int = HANDS
) -> list[Result]:
    """Return the results of `work` on each of `items`, in their order, by as many threads as there are `hands`.

    An interrupt (Ctrl-C) is raised at once; what the other threads do then comes to nothing.

    Raises:
        BaseException: The first error that `work` has raised.
    """
    waiting = list(items)
    if len(waiting) <= 1 or hands == 1:
        return [work(item) for item in waiting]
    from threading import Thread

    results: list[Result | None] = [None] * len(waiting)
    errors: list[BaseException] = []
    numbers: Iterator[int] = iter(range(len(waiting)))

    def take() -> None:
        try:
            for number in numbers:  # a range's iterator is atomic under the lock
                if errors:
                    return
                results[number] = work(waiting[number])
        except BaseException as error:
            errors.append(error)
            raise

    def help_out() -> None:
        with suppress(BaseException):  # raised by whoever asked, below
            take()

    helpers = [Thread(target=help_out, daemon=True) for _ in range(min(hands, len(waiting)) - 1)]
    for helper in helpers:
        helper.start()
    take()
    for helper in helpers:
        helper.join()
    if errors:
        raise errors[0]
    return results  # type: ignore[return-value]  # each has been set
