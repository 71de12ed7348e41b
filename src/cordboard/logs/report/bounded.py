"""The first and the last of many: memory has a bound, however long a log is."""

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class HeadTail(Generic[T]):
    """Keeps the first and the last half of ``most`` items, or of ``most_size``.

    Args:
        most: How many items at most; at least 2.
        most_size: How large they may be together; 0 for any size.
    """

    def __init__(self, most: int, most_size: int = 0) -> None:
        self._half = most // 2
        self._half_size = most_size / 2 or float("inf")
        self._most_tail = most - self._half
        self._head: list[T] = []
        self._tail: deque[tuple[T, int]] = deque()
        self._head_size = self._tail_size = 0
        self._head_full = False
        self.added = 0

    def add(self, item: T, size: int = 0) -> None:
        """Take one item."""
        self.added += 1
        if not self._head_full and len(self._head) < self._half:
            self._head.append(item)
            self._head_size += size
            self._head_full = self._head_size >= self._half_size
            return
        self._tail.append((item, size))
        self._tail_size += size
        while len(self._tail) > self._most_tail or (
            self._tail_size > self._half_size and len(self._tail) > 1
        ):
            self._tail_size -= self._tail.popleft()[1]

    @property
    def left_out(self) -> int:
        """How many of the middle are not kept."""
        return self.added - len(self._head) - len(self._tail)

    def __iter__(self) -> Iterator[T]:
        yield from self._head
        for item, _ in self._tail:
            yield item
