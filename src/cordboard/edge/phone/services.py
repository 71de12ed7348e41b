"""What the routes of telephone calls share."""

from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp

from cordboard.edge.phone.calls import PhoneCalls
from cordboard.edge.phone.carriers import CARRIERS, Carrier
from cordboard.edge.phone.desk import PhoneDesk
from cordboard.edge.phone.outbound import OutboundCalls
from cordboard.edge.sessions import EdgeSessions
from cordboard.edge.tokens import StreamTokens
from cordboard.settings import Settings


@dataclass(frozen=True, slots=True)
class PhoneServices:
    """The services of telephone calls.

    Attributes:
        desk: The carriers and their URLs.
        calls: Answers carriers' webhooks.
        outbound: Places calls.
    """

    desk: PhoneDesk
    calls: PhoneCalls
    outbound: OutboundCalls

    @classmethod
    def make(
        cls,
        settings: Settings,
        sessions: EdgeSessions,
        tokens: StreamTokens,
        connections: aiohttp.ClientSession,
        carriers: Mapping[str, Carrier] = CARRIERS,
    ) -> "PhoneServices":
        """Return the services of an edge.

        Args:
            settings: The settings of this process.
            sessions: Joins, follows and ends sessions.
            tokens: Issues the tokens of streams.
            connections: Connections to carriers' APIs.
            carriers: The tables of carriers, by name.

        Raises:
            SettingsError: ``[phone]`` names an unknown carrier.
        """
        desk = PhoneDesk(settings, tokens, carriers)
        return cls(desk, PhoneCalls(desk, sessions), OutboundCalls(desk, sessions, connections))
