from collections.abc import Callable
from typing import TypeAlias

Range: TypeAlias = tuple[int, int, int]
Progress: TypeAlias = Callable[[int], None] | None

def places(
    ranges: list[Range], needle: bytes, hands: int, progress: Progress, /
) -> list[list[int] | None]: ...
def numbers(
    ranges: list[Range], boots: bytes, hands: int, progress: Progress, /
) -> list[list[tuple[bytes, tuple[int, int]]] | None]: ...
def key_behind(fd: int, offset: int, limit: int, /) -> bytes | None: ...
