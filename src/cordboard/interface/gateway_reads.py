"""What the pages read from the gateway: lists of sessions, and the state of the plane."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from cordboard.interface.access import listed_user, seen_members
from cordboard.interface.people import Person
from cordboard.web.gateway_proxy import GatewayProxy

_OPTIONAL: Final = dict.fromkeys(
    ("reason", "detail", "bot", "userId", "userName", "attempt", "takeOvers", "build")
)


def complete(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return `record`, of a session, with None for each member that it may lack, for the templates."""
    return _OPTIONAL | dict(record)


async def read_sessions(
    gateway: GatewayProxy, person: Person, query: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], str | None]:
    """Return a page of the sessions that a person may see, the newest first, and the cursor of the next page.

    Args:
        gateway: The gateway.
        person: The person: a caller gets the own sessions, and what callers may see of them.
        query: The parameters of ``GET /sessions``; empty ones are left out.

    Raises:
        InvalidValueError: The gateway does not accept a parameter.
    """
    wanted = {**query, "userId": listed_user(person)}
    given = {name: value for name, value in wanted.items() if value not in (None, "")}
    page = await gateway.read(f"/sessions?{urlencode(given)}")
    found = [complete(seen_members(person, record)) for record in page["sessions"]]
    return found, page["nextCursor"]


async def read_overview(gateway: GatewayProxy) -> dict[str, Any]:
    """Return the queue, the runners and the operators that `gateway` reports.

    Raises:
        CordboardError: It does not answer.
    """
    return await gateway.read("/overview")


async def is_live(gateway: GatewayProxy, room: str) -> bool:
    """Return whether `room` has a live session, of whomever, in the cell of `gateway`.

    Raises:
        CordboardError: The gateway does not answer.
    """
    query = urlencode({"room_url": room, "live": "true", "limit": 1})
    page = await gateway.read(f"/sessions?{query}")
    return bool(page["sessions"])
