"""An edge with carriers, before a real gateway and a real Redis, and a carrier's requests to it."""

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from cordboard.edge.app import create_app
from cordboard.edge.phone.carriers import CARRIERS, Carrier
from cordboard.environment import CONTROL_SECRET
from cordboard.gateway.app import create_app as create_gateway
from cordboard.settings import Settings
from cordboard.settings.phone import PhoneSettings
from cordboard.store import Holder, RedisStore, Registration
from edge.phone_support import OURS, PUBLIC_URL, THEIRS, TOKEN, Pairs, phone_settings, signed
from parts_support import client as client_of
from tests_support import served

SECRET = "phone-control-secret"
QUEUE_MAX = 5
TWILIO_CALL = "CA0123456789abcdef0123456789abcdef"
TELNYX_CALL = "v3:9X2vxPDFY2RHSJ1EdMS0RHRksMTg7ldNxdjWbVr9zBjbGjGsSe-aiQ"


def form_of(carrier: str, call_id: str, **over: str) -> Pairs:
    """Return the form of an incoming call, with the carrier's own names."""
    match carrier:
        case "plivo":
            values = {"CallUUID": call_id, "From": THEIRS[1:], "To": OURS[1:]}
            values |= {"CallStatus": "ringing", "Direction": "inbound"}
        case "exotel":
            values = {"CallSid": call_id, "CallFrom": THEIRS, "CallTo": OURS}
            values |= {"Direction": "incoming"}
        case _:
            values = {"CallSid": call_id, "AccountSid": "AC1", "From": THEIRS, "To": OURS}
            values |= {"CallStatus": "ringing", "Direction": "inbound"}
    return list((values | over).items())


@dataclass(frozen=True)
class Answer:
    """An answer of the edge."""

    status: int
    text: str
    headers: Mapping[str, str] = field(repr=False)

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class PhoneSite:
    """An edge with its gateway's store."""

    store: RedisStore
    client: httpx.AsyncClient

    async def post(
        self, carrier: str, path: str, form: Pairs, signed_url: str | None = None, **headers: str
    ) -> Answer:
        """Send a carrier's signed request to a path, or to a full URL of a document."""
        path = path.removeprefix(PUBLIC_URL)
        body, signature = signed(carrier, signed_url or PUBLIC_URL + path, form)
        return await self.send("POST", path, body, signature | headers)

    async def send(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, Any] | None = None
    ) -> Answer:
        answer = await self.client.request(method, path, content=body, headers=dict(headers or {}))
        return Answer(answer.status_code, answer.text, answer.headers)

    async def order(self, carrier: str, **body: Any) -> Answer:
        """Place a call, as an application does."""
        content = json.dumps({"to": THEIRS, "from": OURS} | body).encode()
        headers = {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json"}
        return await self.send("POST", f"/phone/{carrier}/calls", content, headers)

    async def run(self, session_id: str, epoch: int = 1) -> None:
        """Bring an accepted session to running, as an operator and a runner would."""
        await self.store.register(
            Registration("r1", "http://127.0.0.1:9", capacity=99, bots=("default", "support"))
        )
        await self.store.placement.assign(session_id, epoch)
        await self.store.confirm_running(
            session_id, epoch, Holder("r1", "http://127.0.0.1:9", "warm", 42)
        )

    async def end(self, session_id: str, reason: str) -> None:
        """End a session, as its runner would."""
        record = await self.store.session(session_id)
        assert await self.store.finish(session_id, record.epoch, reason)


@contextlib.asynccontextmanager
async def phone_site(
    store: RedisStore,
    monkeypatch: pytest.MonkeyPatch,
    *,
    phone: PhoneSettings | None = None,
    carriers: Mapping[str, Carrier] = CARRIERS,
    gateway_url: str | None = None,
    before_gateway: Callable[[Any], Any] = lambda app: app,
    **settings: Any,
) -> AsyncIterator[PhoneSite]:
    """Run an edge and its gateway for a block."""
    monkeypatch.setenv(CONTROL_SECRET, SECRET)
    monkeypatch.setenv("TEST_CARRIER_TOKEN", TOKEN)
    gateway_app = create_gateway(Settings(queue_max=QUEUE_MAX), store)
    async with served(before_gateway(gateway_app)) as gateway:
        values = {"public_url": PUBLIC_URL} | settings
        edge = create_app(
            Settings(
                gateway_url=gateway_url or gateway,
                phone=phone or phone_settings(ring_s=0),
                **values,
            ),
            carriers=carriers,
        )
        # Without a server, which takes time to start and to stop; the gateway has one.
        async with edge.router.lifespan_context(edge), client_of(edge) as client:
            yield PhoneSite(store, client)
