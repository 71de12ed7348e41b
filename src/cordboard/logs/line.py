"""One line as it was read: what every stage after the decoding works with."""

from typing import Any, Literal, NamedTuple

Attribution = Literal["explicit", "inherited", "inferred", "absent"]
"""How a line's session is known: it says so; a raw line of a one-session process; concluded; not."""


class Line(NamedTuple):
    """A decoded line.

    Attributes:
        record: The record under the keys of the contract, whatever names its writer used.
        raw: The bytes as they were found, without prefix and newline.
        source: Where it was found: a file's path, or ``namespace/pod/container``.
        attribution: How its session is known.
        inferred_from: For an inferred one: from what, in words.
    """

    record: dict[str, Any]
    raw: bytes
    source: str
    attribution: Attribution = "explicit"
    inferred_from: str | None = None
