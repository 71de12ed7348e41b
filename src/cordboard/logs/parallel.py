"""Two hands: threads for work that waits, a second process for work that computes."""

import marshal
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, NoReturn, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# To start a second process costs as much as to read, or only to search, that.
SHARED_FROM_BYTES: Final = 24 << 20
SEARCHED_BY_TWO_FROM_BYTES: Final = 128 << 20
_LOTS_MAX: Final = 2000  # as two bytes each, they fit the smallest pipe there is
HANDS: Final = max(1, min(2, os.cpu_count() or 1))


def spread(
    work: Callable[[Item], Result], items: Iterable[Item], hands: int = HANDS
) -> list[Result]:
    """Return the work's results in the order of the items; the first error is raised.

    An interrupt (Ctrl-C) is raised at once; what the other hands do then comes to nothing.
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


def can_share() -> bool:
    """Say whether a second process can take a part: there is a processor, and no other thread.

    A copy has one thread alone; locks that others hold would never be let go.
    """
    threading = sys.modules.get("threading")
    return HANDS > 1 and (threading is None or threading.active_count() == 1)


def shared(work: Callable[[int], Any], count: int, alone: Callable[[], None]) -> list[Any]:
    """Return what work gives for each number below ``count``, done by this process and a copy of it.

    Both take the next lot from one pipe, so that neither waits for the other. What the work changes in
    the copy is lost: it returns all that matters, as values that `marshal` knows. For where `can_share`
    says so.

    Args:
        work: Is given a number.
        count: How many there are.
        alone: Called in the copy before it begins: it shares this process's terminal.
    """
    lots = [range(first, count, _LOTS_MAX) for first in range(min(count, _LOTS_MAX))]
    queue, feed = os.pipe()
    os.write(feed, b"".join(lot.start.to_bytes(2, "little") for lot in lots))
    os.close(feed)
    answers, answer = os.pipe()
    child = os.fork()
    if child == 0:
        _be_the_copy(work, lots, queue, answer, alone)
    os.close(answer)
    try:
        found = dict(_done(work, lots, queue))
        with os.fdopen(answers, "rb") as file:
            told = file.read()
    except BaseException:
        from signal import SIGKILL

        os.kill(child, SIGKILL)
        raise
    finally:
        os.close(queue)
        os.waitpid(child, 0)
    found.update(marshal.loads(told) if told else {})  # noqa: S302 - our own copy wrote it
    return [found[number] if number in found else work(number) for number in range(count)]


def _be_the_copy(
    work: Callable[[int], Any],
    lots: Sequence[range],
    queue: int,
    answer: int,
    alone: Callable[[], None],
) -> NoReturn:
    """Work, answer, and end without a trace; an error's items are left to the other process."""
    try:
        alone()
        with os.fdopen(answer, "wb") as file:
            file.write(marshal.dumps(dict(_done(work, lots, queue))))
    finally:
        os._exit(0)


def _done(
    work: Callable[[int], Any], lots: Sequence[range], queue: int
) -> Iterator[tuple[int, Any]]:
    while taken := os.read(queue, 2):
        for number in lots[int.from_bytes(taken, "little")]:
            yield number, work(number)
