"""The objects that the edge's routes share, made when the application starts."""

import asyncio
from dataclasses import dataclass, field
from typing import Annotated

import aiohttp
from fastapi import Depends
from starlette.requests import HTTPConnection

from cordboard.edge.phone.services import PhoneServices
from cordboard.edge.sessions import EdgeSessions
from cordboard.edge.streams.entrance import StreamEntrance
from cordboard.edge.streams.relay import StreamRelay
from cordboard.edge.tokens import StreamTokens
from cordboard.settings import Settings
from cordboard.web.gateway_proxy import GatewayProxy


@dataclass(frozen=True, slots=True)
class EdgeServices:
    """The dependencies of the edge's routes.

    Attributes:
        settings: The settings of this process.
        local: Whether the edge listens on loopback.
        gateway: Calls the gateway.
        sessions: Joins, follows and ends sessions.
        tokens: Issues and verifies the tokens in the URLs of streams.
        streams: Serves the streams of clients.
        stream_entrance: Accepts the websockets of clients.
        phone: Telephone calls: carriers' webhooks and orders.
        connections: Connections to runners, carriers' APIs and room providers.
        stopping: Set when the server stops: no new stream begins.
    """

    settings: Settings
    local: bool
    gateway: GatewayProxy
    sessions: EdgeSessions
    tokens: StreamTokens
    streams: StreamRelay
    stream_entrance: StreamEntrance
    phone: PhoneServices
    connections: aiohttp.ClientSession
    stopping: asyncio.Event = field(default_factory=asyncio.Event)


async def edge_services(connection: HTTPConnection) -> EdgeServices:
    """Return the services that the application's lifespan made for `connection`'s application."""
    # Not a plain function: FastAPI would run it in a thread, which costs more than the call itself.
    services: EdgeServices = connection.app.state.services
    return services


Services = Annotated[EdgeServices, Depends(edge_services)]
"""The type of a route's parameter that receives the services."""
