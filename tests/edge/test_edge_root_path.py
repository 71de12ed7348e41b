"""An edge whose public address has a path prefix, behind proxies that remove it and proxies that keep it."""

import itertools

import aiohttp
import pytest

from cordboard.contract.errors import SettingsError
from cordboard.edge.app import create_app
from cordboard.environment import CONTROL_SECRET
from cordboard.settings import Settings
from cordboard.store import RedisStore
from edge.edge_support import AS_CLIENT, CONTROL, KEYS, SECRET, open_site
from edge.phone_site import TWILIO_CALL, form_of, phone_site
from edge.phone_support import PUBLIC_URL, phone_settings
from edge.test_edge_phone_calls import CALL_IDS, again_url, stream_url
from tests_support import StandIn, served

ADDRESS = f"{PUBLIC_URL}/voice"
FORWARDED = ("", "/voice")  # the prefix, as the proxy forwards it


async def test_addresses_in_answers_have_the_prefix(
    store: RedisStore, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The URL of a WebSocket, the redirect to the page, the server of the OpenAPI description."""
    monkeypatch.setenv(CONTROL_SECRET, SECRET)
    async with open_site(store, stand_in, public_url=f"{ADDRESS}/", public_keys=KEYS) as site:
        for kept in FORWARDED:
            site.http.base_url = f"http://localhost{kept}"
            home = await site.http.get("/")
            assert (home.status_code, home.headers["Location"]) == (307, "/voice/client/")
            shown = (await site.http.get("/openapi.json", headers=CONTROL)).json()
            assert shown["servers"] == [{"url": "/voice"}]
            assert "/start" in shown["paths"]
            body = {"transport": "websocket"}
            answer = await site.started(f"call-{len(kept)}", body, headers=AS_CLIENT)
            assert answer.json()["wsUrl"].startswith("wss://voice.example.com/voice/ws-client/")
            refused = await site.http.post("/v1/public/other/start", headers=AS_CLIENT)
            assert (
                refused.status_code == 401
            )  # the route of Pipecat Cloud; the key is of another bot


async def test_websockets_are_found_below_the_prefix() -> None:
    """With and without it; other paths are refused in the handshake."""
    app = create_app(
        Settings(gateway_url="http://127.0.0.1:9", public_url=ADDRESS, open_websockets=True)
    )
    async with served(app, websockets=True) as url, aiohttp.ClientSession(url) as client:
        for kept in FORWARDED:
            async with client.ws_connect(f"{kept}/ws-client") as socket:
                await socket.receive()
                assert socket.close_code == 1013  # the gateway cannot be reached
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await client.ws_connect("/voice/voice/ws-client")


async def test_carriers_sign_the_prefix_and_get_it_in_documents(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The URL that a carrier signs is the public one, whatever the proxy forwards."""
    settings = phone_settings(ring_s=0)
    async with phone_site(store, monkeypatch, phone=settings, public_url=ADDRESS) as site:
        for kept, carrier in itertools.product(FORWARDED, ("twilio", "plivo", "exotel")):
            path, call = f"/phone/{carrier}", form_of(carrier, CALL_IDS[carrier])
            answer = await site.post(carrier, kept + path, call, signed_url=ADDRESS + path)
            assert answer.status == 200
            stream = stream_url(carrier, answer.text)
            assert stream.startswith("wss://voice.example.com/voice/phone/stream/")


async def test_each_step_of_a_call_is_below_the_prefix(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its stream, the line asks again at an address of the document, which is signed in turn."""
    call = form_of("twilio", TWILIO_CALL)
    settings = phone_settings(ring_s=0)
    async with phone_site(store, monkeypatch, phone=settings, public_url=ADDRESS) as site:
        url = f"{ADDRESS}/phone/twilio"
        first = await site.post("twilio", "/voice/phone/twilio", call, signed_url=url)
        again = again_url(first.text)
        assert again.startswith(f"{ADDRESS}/phone/twilio/")
        path = again.removeprefix(PUBLIC_URL)
        foreign = await site.post("twilio", path, call, signed_url=again.replace("/voice", ""))
        assert foreign.status == 403
        await site.run(TWILIO_CALL)
        await site.end(TWILIO_CALL, "bot_finished")
        answer = await site.post("twilio", path, call, signed_url=again)
        assert (answer.status, "<Hangup" in answer.text) == (200, True)


def test_prefix_of_an_own_path_is_refused() -> None:
    """`/api/offer` below `/api` would be `/offer`."""
    for path in ("/api", "/sessions/x", "/v1", "/phone"):
        with pytest.raises(SettingsError, match="public_url"):
            create_app(Settings(public_url=PUBLIC_URL + path))
