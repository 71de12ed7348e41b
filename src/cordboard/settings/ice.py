"""Settings of the paths for media: STUN and TURN servers."""

from dataclasses import dataclass

from cordboard.contract.ice import IceServer, IceTransportPolicy
from cordboard.settings.kinds import Positive


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class IceSettings:
    """Which servers help a caller and a bot in a webrtc: room to reach each other."""

    ice_servers: tuple[IceServer, ...] = ()
    """STUN and TURN servers for callers and bots in webrtc: rooms: a list of URLs (`stun:HOST`,
    `turn:HOST:PORT?transport=tcp`, `turns:HOST`) and of tables with `urls`, `username` and
    `credential`. In the environment: URLs separated by commas, or the list as JSON;
    `PIPECAT_ICE_SERVERS` of Pipecat's own runner is read as well. A TURN server without a username
    gets credentials that are derived from CORDBOARD_TURN_SECRET. Gateways and runners need the
    same list. Without servers, caller and bot must reach each other directly."""

    ice_transport_policy: IceTransportPolicy = "all"
    """`relay` lets callers send media only through a TURN server, so that neither a bot nor an
    observer of its network sees their addresses; `all` also permits direct paths, which have less
    delay."""

    turn_credentials_s: Positive = 14_400
    """Seconds for which the derived credentials of a caller are valid: as long as a session lasts
    by default, so that a client can reconnect until its end. Those of a bot are valid for as long as
    its session may last. A connection that exists does not end with its credentials."""
