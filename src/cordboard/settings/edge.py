"""Settings of the edge, the public service for telephone carriers, websockets and Pipecat's clients."""

from dataclasses import dataclass

from cordboard.settings.kinds import Limit


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class EdgeSettings:
    """The edge's public address, and which clients it accepts."""

    public_url: str | None = None
    """The address at which carriers and clients reach the edge, such as https://voice.example.com.
    Carriers sign it and connect their streams to it (as wss). Unset, the edge uses the address of
    each request, and the doors of carriers stay closed."""

    allowed_origins: tuple[str, ...] = ()
    """Origins of web pages, such as https://app.example.com, whose scripts may start sessions at the
    edge (CORS). On loopback without this setting, every origin is allowed."""

    open_websockets: bool = False
    """Whether clients beyond loopback may open websockets (/ws, /ws-client) without a token."""

    stream_grace_s: Limit = 14400
    """Seconds for which an edge that stops (SIGTERM) lets open streams go on, so that a rollout cuts no
    call; then it closes them with code 1012. The default is that of a session's longest duration."""
