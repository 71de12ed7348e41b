"""What the pages read from the gateway: lists of sessions, and the state of the plane."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

from cordboard.contract.errors import GatewayError, InvalidValueError, StoreUnavailableError
from cordboard.web.gateway_proxy import RETRY_DEFAULT_S, GatewayProxy

_OPTIONAL: Final = dict.fromkeys(
    ("reason", "detail", "bot", "userId", "userName", "attempt", "takeOvers", "build")
)


def complete(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with None for each member that it may lack, for the templates."""
    return _OPTIONAL | dict(record)


async def read_sessions(
    gateway: GatewayProxy, query: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], str | None]:
    """Return a page of sessions, the newest first, and the cursor of the next page.

    Args:
        gateway: The gateway.
        query: The parameters of ``GET /sessions``; empty ones are left out.

    Raises:
        InvalidValueError: The gateway does not accept a parameter.
    """
    given = {name: value for name, value in query.items() if value not in (None, "")}
    page = await _read(gateway, f"/sessions?{urlencode(given)}")
    return [complete(record) for record in page["sessions"]], page["nextCursor"]


async def read_overview(gateway: GatewayProxy) -> dict[str, Any]:
    """Return the queue, the runners and the operators."""
    return await _read(gateway, "/overview")


async def _read(gateway: GatewayProxy, path: str) -> dict[str, Any]:
    reply = await gateway.ask("GET", path)
    if reply.status == HTTPStatus.UNPROCESSABLE_ENTITY:
        raise InvalidValueError(
            "The search contains an invalid value.",
            hint="Go back, and change what you searched for.",
        )
    if reply.status == HTTPStatus.SERVICE_UNAVAILABLE:
        raise StoreUnavailableError(
            "The service is temporarily unavailable.",
            retry_after_s=reply.retry_after_s(RETRY_DEFAULT_S),
        )
    if not reply.is_success:
        raise GatewayError(f"The gateway answered HTTP {reply.status}.")
    found: dict[str, Any] = reply.json()
    return found
