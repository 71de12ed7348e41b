"""Cells: independent planes, each with its own Redis, among which rooms are divided."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Cell:
    """The addresses of a cell.

    Attributes:
        gateway: The URL of its gateways.
        interface: The URL of its interface; None if it has none.
    """

    gateway: str
    interface: str | None = None


def is_cell_name(name: str) -> bool:
    """Return whether `name` can name a cell: a DNS label, as in the names of clusters and regions."""
    return _NAME.fullmatch(name) is not None


def cell_of(room: str, cells: Collection[str]) -> str:
    """Return the cell to which a room belongs, if no caller says otherwise.

    Rendezvous hashing: a new cell takes over its share of the rooms, and all others stay where they are. Source:
    Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998.

    Args:
        room: The canonical name of the room.
        cells: The names of all cells; at least one.
    """
    return max(cells, key=lambda cell: sha256(f"{cell}\n{room}".encode()).digest())
