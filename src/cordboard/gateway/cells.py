"""Refuse requests for rooms of other cells: a room has its bot in one cell only."""

from cordboard.contract.cells import cell_of
from cordboard.contract.errors import WrongCellError
from cordboard.settings import Settings


def check_cell(settings: Settings, room: str, chosen: str | None) -> None:
    """Check that a room belongs to the cell of this gateway.

    Args:
        settings: The settings of this process.
        room: The canonical name of the room.
        chosen: The cell in which the caller has placed the room; None if its name decides.

    Raises:
        WrongCellError: The room belongs to another cell; the error names it, and the URL of its gateways.
    """
    cell = chosen or (cell_of(room, settings.cells) if settings.cells else settings.cell)
    if cell == settings.cell:
        return
    other = settings.cells.get(cell or "")
    gateway = {"gateway": other.gateway} if other is not None else {}
    here = f"cell {settings.cell}" if settings.cell else "no cell"
    raise WrongCellError(
        f"The room belongs to cell {cell}, but this gateway belongs to {here}.",
        hint=f"Send the request to {other.gateway}." if other is not None else "",
        extra={"cell": cell, **gateway},
    )
