"""The first and the last of many: memory has a bound, however long a log is."""

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class HeadTail(Generic[T]):
    """Keeps the first and the last half of ``most`` items.

    Args:
        most: How many items at most; at least 2.
    """

    def __init__(self, most: int) -> None:
        self._half = most // 2
        self._head: list[T] = []
        self._tail: deque[T] = deque(maxlen=most - self._half)
        self.added = 0

    def add(self, item: T) -> None:
        """Take one item."""
        self.added += 1
        if len(self._head) < self._half:
            self._head.append(item)
        else:
            self._tail.append(item)

    @property
    def left_out(self) -> int:
        """How many of the middle are not kept."""
        return self.added - len(self._head) - len(self._tail)

    def __iter__(self) -> Iterator[T]:
        yield from self._head
        yield from self._tail
