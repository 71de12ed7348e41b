from collections.abc import Sequence
from typing import TypeAlias

Runs: TypeAlias = dict[bytes, list[tuple[int, int]]]

def survey(
    data: bytes, size: int, /
) -> tuple[bytes, str | None, Runs, list[bytes], list[tuple[int, int, int]]] | None: ...
def ordered(
    data: bytes, places: memoryview, others: Sequence[tuple[int, bytes, bytes]], /
) -> tuple[bytes, float, bool]: ...
def numbers(data: bytes | bytearray, size: int, /) -> tuple[Runs, list[bytes], int]: ...
def merged(
    several: Sequence[tuple[int, bytes, memoryview, Sequence[tuple[int, bytes, bytes]]]], /
) -> tuple[bytes, list[tuple[int, int, int]]] | None: ...
