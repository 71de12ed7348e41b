"""The objects that the gateway's routes share, made when the application starts."""

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Request

from cordboard.gateway.hub import Hub
from cordboard.gateway.relay import Relay
from cordboard.gateway.session_events import StreamCounter
from cordboard.gateway.session_limits import SessionLimits
from cordboard.settings import Settings
from cordboard.store import SessionStore, SharedSettings

LEAVE_TIMEOUT_S: Final = 10.0
"""How long a leave waits until its bot is gone, and a join until the room's last bot is. The interface waits
20 s for an answer, so that it receives this one."""


@dataclass(frozen=True, slots=True)
class GatewayServices:
    """The dependencies of the gateway's routes.

    Attributes:
        settings: The settings of this process.
        store: The session store.
        hub: Distributes state changes to the requests that wait for them.
        relay: Forwards requests to runners.
        shared_settings: The settings that all components share; joins are refused while they differ.
        session_limits: The limits on live sessions.
        streams: Counts the open event streams.
        leave_timeout_s: How long a leave may take, in seconds.
    """

    settings: Settings
    store: SessionStore
    hub: Hub
    relay: Relay
    shared_settings: SharedSettings
    session_limits: SessionLimits
    streams: StreamCounter
    leave_timeout_s: float = LEAVE_TIMEOUT_S


async def gateway_services(request: Request) -> GatewayServices:
    """Return the services that the application's lifespan made for `request`'s application."""
    # Not a plain function: FastAPI would run it in a thread, which costs more than the call itself.
    services: GatewayServices = request.app.state.services
    return services


Services = Annotated[GatewayServices, Depends(gateway_services)]
"""The type of a route's parameter that receives the services."""
