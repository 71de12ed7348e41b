"""The objects that the edge's routes share, made when the application starts."""

import asyncio
from dataclasses import dataclass, field
from typing import Annotated, Final

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
class Waits:
    """How long requests of clients wait for a session, in seconds.

    Attributes:
        start_s: A start waits until its session runs. A warm bot takes a tenth of a second; a client's offer
            or stream is held longer, so the answer may come before a cold one runs.
        room_s: The same in a room of Daily or LiveKit: the person needs a second or two to join it, too.
        hold_s: An offer waits until its session runs, because Pipecat's clients take each answer of 4xx as
            final. Proxies wait for an answer for 60 s, as a rule.
        peer_gone_s: An offer waits for an earlier peer to have gone, as after the reload of a page. Pipecat
            takes a peer as gone 3 s after its last ping; a connection that was never made ends after 5 s.
        unreached_s: An offer waits for another bot while its own is not reached. With the 15 s in which the
            gateway asks a runner, the answer still comes within the 60 s of proxies; the three attempts of
            Pipecat's client then last longer than the 95 s after which a silent bot has been replaced.
    """

    start_s: float = 10.0
    room_s: float = 2.0
    hold_s: float = 15.0
    peer_gone_s: float = 6.0
    unreached_s: float = 40.0


DEFAULT_WAITS: Final = Waits()


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
        stream_entrance: Accepts the WebSockets of clients.
        phone: Telephone calls: carriers' webhooks and orders.
        connections: Connections to runners, carriers' APIs and room providers.
        waits: How long requests of clients wait for a session.
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
    waits: Waits = DEFAULT_WAITS
    stopping: asyncio.Event = field(default_factory=asyncio.Event)


async def edge_services(connection: HTTPConnection) -> EdgeServices:
    """Return the services that the application's lifespan made for `connection`'s application."""
    # Not a plain function: FastAPI would run it in a thread, which costs more than the call itself.
    services: EdgeServices = connection.app.state.services
    return services


Services = Annotated[EdgeServices, Depends(edge_services)]
"""The type of a route's parameter that receives the services."""
