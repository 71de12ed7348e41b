"""The objects that the gateway's routes share, made when the application starts."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from cordboard.gateway.hub import Hub
from cordboard.gateway.relay import Relay
from cordboard.gateway.session_events import StreamCounter
from cordboard.gateway.session_limits import SessionLimits
from cordboard.settings import Settings
from cordboard.store import RedisStore, SharedSettings


@dataclass(frozen=True, slots=True)
class GatewayServices:
    """The dependencies of the gateway's routes.

    Attributes:
        settings: The settings of this process.
        store: The session store.
        hub: Distributes state changes to the requests that wait for them.
        relay: Forwards requests to runners.
        agreement: The settings that all components share; joins are refused while they differ.
        session_limits: The limits on live sessions.
        streams: Counts the open event streams.
    """

    settings: Settings
    store: RedisStore
    hub: Hub
    relay: Relay
    agreement: SharedSettings
    session_limits: SessionLimits
    streams: StreamCounter


async def gateway_services(request: Request) -> GatewayServices:
    """Return the services that the application's lifespan made for `request`'s application."""
    # FastAPI would run a plain function in a thread, which costs more than the call itself.
    services: GatewayServices = request.app.state.services
    return services


Services = Annotated[GatewayServices, Depends(gateway_services)]
"""The type of a route's parameter that receives the services."""
