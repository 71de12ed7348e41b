"""The proofs with which carriers open a stream, for streams whose URL has no token."""

from collections.abc import Callable

from starlette.websockets import WebSocket

from cordboard.edge.phone.desk import PhoneDesk
from cordboard.edge.phone.webhook import Webhook, read_pairs
from cordboard.emit import get_logger
from cordboard.web.proxies import client_address
from cordboard.web.rate_limits import Sampler

_HEADER = "x-twilio-signature"
# Names the shared key that has signed, instead of the auth token.
_KEY_HEADER = "x-twilio-webhooks-signature-settings"
log = get_logger("phone")


def handshake_proof(
    desk: PhoneDesk, clock: Callable[[], float]
) -> Callable[[WebSocket], bool | None]:
    """Return a function that returns whether a carrier has proved the handshake of a WebSocket.

    Exotel sends the user and the password of the URL, and comes from the addresses of its account, as with
    its webhooks (https://developer.exotel.com/docs/agentstream/stream-voicebot-applet).

    Twilio signs the URL of the stream (https://www.twilio.com/docs/api/errors/31930); whether as ``wss`` or
    ``https``, and with a slash at its end, depends on where the URL comes from. Any of these counts. A signature
    that fits none of them is wrong: the URLs of streams begin with ``public_url``, as those of webhooks do. Without
    the key that it names, nothing is known of it.

    Args:
        desk: The carriers and their keys.
        clock: Returns the seconds since 1970.
    """
    sampler = Sampler()  # anybody can send the header

    def is_proved(websocket: WebSocket) -> bool | None:
        if _HEADER in websocket.headers:
            return is_signed(websocket)
        carrier = desk.carrier_or_none("exotel")
        if carrier is None:
            return None
        # The proof has no signature, so the URL does not matter. Other clients may send Authorization, too,
        # so what is no proof is no error.
        request = _request(websocket, "", clock())
        return carrier.proof.is_genuine(request, desk.credentials(carrier)) or None

    def is_signed(websocket: WebSocket) -> bool | None:
        carrier = desk.carrier_or_none("twilio")
        if carrier is None:
            return None
        credentials = desk.credentials(carrier)
        key = "signing_key" if _KEY_HEADER in websocket.headers else "auth_token"
        if not credentials.secrets(key):
            return None
        signed = [
            carrier.proof.is_genuine(_request(websocket, url, clock()), credentials)
            for url in _urls(desk.settings.public_url or "", websocket)
        ]
        if any(signed):
            return True
        suppressed = sampler.admit()
        if suppressed is not None:
            log.warning(
                "The signature of a stream does not fit public_url",
                suppressed=suppressed,
                hint="Check that public_url is the address in the document, and the auth token.",
            )
        return False

    return is_proved


def _urls(public_url: str, websocket: WebSocket) -> list[str]:
    query = websocket.scope["query_string"].decode("latin-1")
    place = public_url.rstrip("/").partition("://")[2] + websocket.scope["raw_path"].decode(
        "latin-1"
    )
    ends = ("", "/") if not place.endswith("/") else ("",)
    rest = f"?{query}" if query else ""
    return [f"{scheme}://{place}{end}{rest}" for scheme in ("wss", "https") for end in ends]


def _request(websocket: WebSocket, url: str, now: float) -> Webhook:
    return Webhook(
        method="GET",
        url=url,
        headers={name.lower(): value for name, value in websocket.headers.items()},
        body=b"",
        form=[],
        query=read_pairs(url.partition("?")[2]),
        client=client_address(websocket.scope),
        now=now,
    )
