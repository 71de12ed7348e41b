"""Send people to the interface of the cell that a room belongs to."""

from cordboard.contract.cells import cell_of
from cordboard.settings import Settings


def other_interface(settings: Settings, room: str) -> str | None:
    """Return the URL of the interface that has a room; None if this one has it, or nobody knows another.

    Args:
        settings: The settings of this process.
        room: The canonical name of the room.
    """
    cell = cell_of(room, settings.cells) if settings.cells else settings.cell
    return settings.cells[cell].interface if cell is not None and cell != settings.cell else None
