"""Send people to the interface of the cell that a room belongs to.

The name of a room decides, unless a caller has placed the room: an edge places the rooms of its callers in its own
cell. A room with a live session here belongs here.
"""

from cordboard.contract.cells import cell_of
from cordboard.contract.errors import GatewayError, StoreUnavailableError
from cordboard.interface.gateway_reads import is_live
from cordboard.settings import Settings
from cordboard.web.gateway_proxy import GatewayProxy


async def other_interface(settings: Settings, gateway: GatewayProxy, room: str) -> str | None:
    """Return the URL of the interface that has a room; None if this one has it, or nobody knows another.

    Args:
        settings: The settings of this process.
        gateway: Tells whether the room was placed here.
        room: The canonical name of the room.
    """
    cell = _cell_by_name(settings, room)
    if cell is None or cell == settings.cell:
        return None
    other = settings.cells[cell].interface
    return None if other is None or await _is_placed_here(gateway, room) else other


async def join_path(settings: Settings, gateway: GatewayProxy, room: str) -> str:
    """Return the path of a join at the gateway, which says where the room was placed if its name does not.

    Args:
        settings: The settings of this process.
        gateway: Tells whether the room was placed here.
        room: The canonical name of the room.
    """
    cell = _cell_by_name(settings, room)
    if cell is None or cell == settings.cell or not await _is_placed_here(gateway, room):
        return "/join"
    return f"/join?cell={settings.cell}"


def _cell_by_name(settings: Settings, room: str) -> str | None:
    return cell_of(room, settings.cells) if settings.cells else settings.cell


async def _is_placed_here(gateway: GatewayProxy, room: str) -> bool:
    try:
        return await is_live(gateway, room)
    except (GatewayError, StoreUnavailableError):
        return False  # the name decides
