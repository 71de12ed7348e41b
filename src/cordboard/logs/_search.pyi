from collections.abc import Callable

def places(
    ranges: list[tuple[int, int, int]],
    needle: bytes,
    hands: int,
    progress: Callable[[int], None] | None,
    /,
) -> list[list[int] | None]: ...
