"""Settings of the edge, the public service for telephone carriers, WebSockets and Pipecat's clients."""

from dataclasses import dataclass

from cordboard.settings.kinds import Limit, Positive


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class EdgeSettings:
    """The edge's public address, and which clients it accepts."""

    public_url: str | None = None
    """The address at which carriers and clients reach the edge, such as https://voice.example.com
    or, behind a proxy with a path prefix, https://example.com/voice. Carriers sign it and connect
    their streams to it (as wss). Unset, the edge uses the address of each request, and refuses all
    requests of carriers."""

    public_keys: tuple[str, ...] = ()
    """Keys with which browsers and servers start sessions at the edge, each as KEY for the bot
    `default` or BOT=KEY, such as support=pk_Vq0yC3nLr8tKz1hW. A key is `pk_` and 16 or more letters,
    digits, `_` and `-`. It is no secret: it permits nothing but the calls of clients, for its bot.
    Without keys, an edge on loopback is open if it has no `public_url`; any other edge requires the
    control secret."""

    allowed_origins: tuple[str, ...] = ()
    """Origins of web pages, such as https://app.example.com, whose scripts may call the edge (CORS);
    * for all. Requests of other pages get 403. Pages of the edge's own address are always allowed,
    and on loopback without this setting all pages of this machine."""

    starts_per_minute: Positive = 60
    """Sessions that one client address may start with one public key per minute, with as many at
    once: an office shares an address. Servers that start more use the control secret."""

    client_requests_per_minute: Positive = 1200
    """Other requests of one client address with one public key per minute. A call sends an offer
    and about five batches of candidates; the rest is for the bot's own routes."""

    open_websockets: bool = False
    """Whether clients beyond loopback may open WebSockets (/ws, /ws-client) without a token."""

    stream_grace_s: Limit = 14400
    """Seconds for which an edge that stops (SIGTERM) lets open streams go on, so that a rollout cuts no
    call; then it closes them with code 1012. The default is that of a session's longest duration."""
