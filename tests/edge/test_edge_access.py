"""Who may call the edge: public keys, origins, limits, and what a stranger cannot write."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from prometheus_client import REGISTRY
from starlette.testclient import TestClient, WebSocketDenialResponse

from cordboard.contract.errors import SettingsError
from cordboard.edge.access import parse_public_keys
from cordboard.edge.app import create_app
from cordboard.edge.services import Waits
from cordboard.environment import CONTROL_SECRET
from cordboard.settings import Settings
from cordboard.store import RedisStore
from edge.edge_support import (
    AS_CLIENT,
    AS_SUPPORT,
    CONTROL,
    KEY,
    KEYS,
    OTHER_KEY,
    SECRET,
    Site,
    open_site,
)
from lines_support import Lines, lines
from tests_support import StandIn

__all__ = ["lines"]
SHORT = Waits(start_s=0.05, hold_s=0.1)
APP = "https://app.example.com"
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-mine",
}
CALLS = [
    ("POST", "/start"), ("POST", "/v1/public/support/start"), ("POST", "/api/offer"),
    ("PATCH", "/api/offer"), ("POST", "/sessions/victim/api/offer"),
    ("PATCH", "/sessions/victim/offer"), ("GET", "/sessions/victim/events"),
    ("GET", "/sessions/victim/ice"),
    ("POST", "/sessions/victim/leave"), ("GET", "/sessions/victim/a/b"), ("PUT", "/sessions/victim/"),
    ("DELETE", "/v1/public/support/sessions/victim/x"), ("POST", "/sessions/victim/files"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONTROL_SECRET, SECRET)


@pytest.fixture
async def site(store: RedisStore, stand_in: StandIn) -> AsyncIterator[Site]:
    """An edge beyond loopback with two public keys and one allowed origin."""
    settings: dict[str, Any] = {"public_keys": KEYS, "allowed_origins": (APP,)}
    async with open_site(store, stand_in, local=False, waits=SHORT, **settings) as here:
        yield here


class TestProofs:
    async def test_every_call_of_clients_needs_a_proof(self, site: Site, lines: Lines) -> None:
        """401 in Pipecat's form; the lines of a refusal belong to the server, not to the named session."""
        proofs: list[Mapping[str, str]] = [
            {}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Bearer {KEY}x"},
            {"X-Bot-Secret": "wrong"}, {"Authorization": KEY},
        ]  # fmt: skip
        for method, path in CALLS:
            for proof in proofs:
                headers = {"X-Session-Id": "victim", "X-User-Id": "u", **proof}
                answer = await site.http.request(method, path, headers=headers)
                assert answer.status_code == 401, (method, path, proof)
                assert answer.json()["detail"]
        ours = [r for r in lines() if r["tag"] in {"http", "edge"} and r["meta"].get("path")]
        assert len(ours) > len(CALLS)
        assert {r["sessionId"].partition(":")[0] for r in ours} == {"server"}
        assert not [r for r in ours if KEY in str(r)]

    async def test_public_paths_need_none(self, site: Site, lines: Lines) -> None:
        """They say nothing of a session, and write no line into the one that a stranger names."""
        for path, status in (("/status", 200), ("/", 307), ("/client/", 404), ("/healthz", 200)):
            answer = await site.http.get(path, headers={"X-Session-Id": "victim"})
            assert answer.status_code == status
        assert not [r for r in lines() if r["sessionId"] == "victim"]

    async def test_status_lists_the_configured_transports(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A client that offers a choice does not offer a room that nobody can create."""
        for name in ("DAILY_API_KEY", "LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"):
            monkeypatch.delenv(name, raising=False)
        without = (await site.http.get("/status")).json()["transports"]
        assert {"webrtc", "websocket", "twilio"} <= set(without)
        monkeypatch.setenv("DAILY_API_KEY", "key")
        assert set((await site.http.get("/status")).json()["transports"]) - set(without) == {
            "daily"
        }

    async def test_key_starts_its_bot_only(self, site: Site) -> None:
        """Without a name in the path it is that bot; with another one the key does not fit."""
        for name, key in (("one", AS_CLIENT), ("two", AS_SUPPORT)):
            answer = await site.start({"sessionId": name}, headers=key)
            assert answer.status_code == 200
        bots = [(await site.store.session(name)).bot for name in ("one", "two")]
        assert bots == ["default", "support"]
        path = "/v1/public/support/start"
        assert (await site.http.post(path, headers=AS_CLIENT)).status_code == 401
        assert (await site.http.post(path, headers=AS_SUPPORT)).status_code == 200
        assert (await site.http.post(path, headers=CONTROL)).status_code == 200

    async def test_key_uses_sessions_that_it_may_have_started_only(
        self, site: Site, stand_in: StandIn
    ) -> None:
        """Other bots' sessions, those of the interface and phone calls do not exist for it."""
        await site.started("one", headers=AS_CLIENT)
        await site.started("call", {"transport": "twilio"}, headers=AS_CLIENT)
        running = asyncio.create_task(site.run("room"))
        join = {"room_url": "webrtc:demo", "sessionId": "room"}
        await site.http.post("/start", json=join, headers=CONTROL)
        await running
        stand_in.answers["/bot/x"] = (200, {})
        statuses = {
            (name, who): (await site.http.get(f"/sessions/{name}/x", headers=headers)).status_code
            for name in ("one", "call", "room", "none", "a%20b")
            for who, headers in (
                ("client", AS_CLIENT),
                ("support", AS_SUPPORT),
                ("server", CONTROL),
            )
        }
        permitted = {key for key, status in statuses.items() if status == 200}
        assert permitted == {("one", "client"), *((n, "server") for n in ("one", "call", "room"))}
        assert set(statuses.values()) == {200, 404}
        named = "/v1/public/support/sessions/one/x"
        assert (await site.http.get(named, headers=CONTROL)).status_code == 404

    async def test_key_joins_no_room(self, site: Site) -> None:
        """``room_url`` is for those who have the control secret."""
        answer = await site.http.post("/start", json={"room_url": "webrtc:demo"}, headers=AS_CLIENT)
        assert answer.status_code == 401
        assert "room_url" in answer.json()["detail"]

    async def test_loopback_is_open_without_keys_and_closed_with(
        self, store: RedisStore, stand_in: StandIn
    ) -> None:
        """A developer needs no key, unless there are some."""
        async with open_site(store, stand_in, waits=SHORT) as site:
            assert (await site.start()).status_code == 200
        async with open_site(store, stand_in, public_keys=KEYS, waits=SHORT) as site:
            assert (await site.start()).status_code == 401
        async with open_site(store, stand_in, local=False, waits=SHORT) as site:
            assert (await site.start()).status_code == 401
            assert (await site.start(headers=CONTROL)).status_code == 200

    @pytest.mark.parametrize("address", ["https://voice.example.com", "http://localhost:7860"])
    def test_loopback_with_a_public_address_is_not_open(
        self, address: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A tunnel or a proxy on this machine leads there. Without a secret, nobody places a call or joins a room."""
        monkeypatch.delenv(CONTROL_SECRET)
        is_open = "localhost" in address
        app = create_app(Settings(public_url=address, gateway_url="http://127.0.0.1:9"))
        with TestClient(app, base_url="http://localhost") as client:
            for path in ("/start", "/phone/twilio/calls", "/api/offer"):
                answer = client.post(path, json={"room_url": "x", "to": "1", "from": "2"})
                assert (answer.status_code == 401) is not is_open, path
            assert (client.get("/metrics").status_code == 200) is is_open
            for path in ("/ws?bot=%20", "/ws-client?bot=%20"):
                with (
                    pytest.raises(WebSocketDenialResponse) as caught,
                    client.websocket_connect(f"ws://localhost{path}"),
                ):
                    pass
                assert caught.value.status_code == (422 if is_open else 403)


class TestOrigins:
    async def test_preflight_is_answered_before_any_proof(self, site: Site) -> None:
        """A browser sends none with it."""
        for path in ("/start", "/sessions/x/api/offer", "/v1/public/support/start"):
            answer = await site.http.options(path, headers={"Origin": APP, **PREFLIGHT})
            assert answer.status_code == 200
            assert answer.headers["Access-Control-Allow-Origin"] == APP
            assert "x-mine" in answer.headers["Access-Control-Allow-Headers"]

    async def test_page_can_read_answers_and_refusals(self, site: Site) -> None:
        """The errors carry the headers, too, as do those of the limit on bodies."""
        for headers, content, status in (
            (AS_CLIENT, b"", 200),
            ({}, b"", 401),
            (AS_CLIENT, b'{"transport":"x"}', 400),
            (AS_CLIENT, b" " * 1_000_001, 413),
        ):
            sent = {"Origin": APP, **headers}
            answer = await site.http.post("/start", headers=sent, content=content)
            assert answer.status_code == status
            assert answer.headers["Access-Control-Allow-Origin"] == APP
            assert "X-Session-Id" in answer.headers["Access-Control-Expose-Headers"]

    async def test_other_pages_are_refused(self, site: Site) -> None:
        """CORS keeps a page from reading an answer; the check keeps it from starting a bot."""
        for origin in (
            "https://evil.example", "http://app.example.com", "null", "http://localhost:3000", "[",
        ):  # fmt: skip
            headers = {"Origin": origin, "Content-Type": "text/plain", **AS_CLIENT}
            answer = await site.http.post("/start", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "foreign_origin")
            assert "Access-Control-Allow-Origin" not in answer.headers

    async def test_own_pages_are_allowed(self, site: Site) -> None:
        """Those of the address that the request asks for, and servers, which have the secret."""
        own = {"Origin": "https://voice.example.com", "Host": "voice.example.com"}
        assert (await site.http.post("/start", headers=own | AS_CLIENT)).status_code == 200
        other = {"Origin": "https://other.example"}
        assert (await site.http.post("/start", headers=other | CONTROL)).status_code == 200

    async def test_loopback_allows_pages_of_this_machine(
        self, store: RedisStore, stand_in: StandIn
    ) -> None:
        """A front end in development has a port of its own; any other site is refused."""
        origins = {
            "http://localhost:5173": 200, "http://127.0.0.1:3000": 200, "http://[::1]:1": 200,
            "https://app.localhost": 200, "https://evil.example": 403,
            "http://localhost.evil.example": 403, "null": 403,
        }  # fmt: skip
        async with open_site(store, stand_in, waits=SHORT) as site:
            for origin, status in origins.items():
                answer = await site.http.post("/start", headers={"Origin": origin})
                assert answer.status_code == status, origin
                is_shown = "Access-Control-Allow-Origin" in answer.headers
                assert is_shown == (status == 200)

    async def test_star_allows_all(self, store: RedisStore, stand_in: StandIn) -> None:
        """For an edge whose clients run anywhere."""
        async with open_site(
            store, stand_in, local=False, public_keys=KEYS, allowed_origins=("*",), waits=SHORT
        ) as site:
            headers = {"Origin": "https://any.example", **AS_CLIENT}
            answer = await site.http.post("/start", headers=headers)
            assert answer.headers["Access-Control-Allow-Origin"] == "*"


class TestLimits:
    async def test_starts_are_limited_by_key_and_address(
        self, store: RedisStore, stand_in: StandIn
    ) -> None:
        """429 with Retry-After; another key, and a server, are not affected."""
        async with open_site(
            store, stand_in, public_keys=KEYS, starts_per_minute=2, waits=SHORT
        ) as site:
            statuses = [(await site.start(headers=AS_CLIENT)).status_code for _ in range(3)]
            assert statuses == [200, 200, 429]
            refused = await site.start(headers=AS_CLIENT)
            assert int(refused.headers["Retry-After"]) >= 1
            assert (await site.start(headers=AS_SUPPORT)).status_code == 200
            for _ in range(4):
                assert (await site.start(headers=CONTROL)).status_code == 200

    async def test_other_requests_have_a_limit_of_their_own(
        self, store: RedisStore, stand_in: StandIn
    ) -> None:
        """Candidates do not use up starts."""
        over: dict[str, Any] = {"starts_per_minute": 1, "client_requests_per_minute": 2}
        async with open_site(store, stand_in, public_keys=KEYS, waits=SHORT, **over) as site:
            path = "/sessions/none/api/offer"
            sent = [(await site.http.patch(path, headers=AS_CLIENT)).status_code for _ in range(3)]
            assert sent == [404, 404, 429]
            assert (await site.start(headers=AS_CLIENT)).status_code == 200

    async def test_wrong_keys_are_limited(self, store: RedisStore, stand_in: StandIn) -> None:
        """The right key is accepted all the same."""
        async with open_site(store, stand_in, public_keys=KEYS, wrong_secrets_per_minute=2) as site:
            wrong = {"Authorization": "Bearer pk_wrongwrongwrongwrong"}
            statuses = [(await site.start(headers=wrong)).status_code for _ in range(4)]
            assert statuses == [401, 401, 429, 429]
            assert (await site.start(headers=AS_CLIENT)).status_code == 200

    async def test_live_sessions_of_an_address_are_limited(
        self, store: RedisStore, stand_in: StandIn
    ) -> None:
        """A browser counts against ``sessions_per_address``; a server does not."""
        async with open_site(
            store, stand_in, public_keys=KEYS, address="192.0.2.7", sessions_per_address=2
        ) as site:
            await site.add_slots(99)
            statuses = [(await site.start(headers=AS_CLIENT)).status_code for _ in range(3)]
            assert statuses == [200, 200, 429]
            assert (await site.start(headers=CONTROL)).status_code == 200


class TestSettings:
    @pytest.mark.parametrize(
        "entry", ["pk_short", "sk_0123456789abcdef", "a/b=pk_0123456789abcdef", "pk_0123456789abcd f", ""]
    )  # fmt: skip
    def test_malformed_key_is_refused_at_the_start(self, entry: str) -> None:
        """Without being repeated: it may be a secret in the wrong place."""
        with pytest.raises(SettingsError, match="public_keys: entry 1 is malformed") as raised:
            create_app(Settings(public_keys=(entry,)))
        assert not entry or entry not in str(raised.value)

    def test_a_key_has_one_bot(self) -> None:
        """Two bots with one key are a mistake; one bot with two keys is a rotation."""
        assert parse_public_keys([KEY, f"default={OTHER_KEY}"]) == {
            KEY: "default", OTHER_KEY: "default",
        }  # fmt: skip
        with pytest.raises(SettingsError, match="default and support"):
            parse_public_keys([KEY, f"support={KEY}"])

    @pytest.mark.parametrize(
        "origin", ["app.example.com", "https://a.example/x", "ws://a", "https://["]
    )
    def test_malformed_origin_is_refused_at_the_start(self, origin: str) -> None:
        """A path in an origin would never match."""
        with pytest.raises(SettingsError, match="allowed_origins"):
            create_app(Settings(allowed_origins=(origin,)))

    @pytest.mark.parametrize(
        "url",
        ["voice.example.com", "https://a.example/x?y", "https://a.example/../x", "ftp://a", ""],
    )
    def test_malformed_public_url_is_refused_at_the_start(self, url: str) -> None:
        """Carriers would sign another one."""
        with pytest.raises(SettingsError, match="public_url"):
            create_app(Settings(public_url=url))


async def test_requests_are_counted_by_call_and_status(site: Site) -> None:
    """The label is the route, not the path, which a stranger could choose."""

    def count(call: str, status: str) -> float:
        labels = {"call": call, "status": status}
        return REGISTRY.get_sample_value("cordboard_edge_requests_total", labels) or 0

    names = [("/start", "401"), ("/sessions/{session_id}/api/offer", "404"), ("none", "404")]
    before = [count(*name) for name in names]
    await site.http.post("/v1/public/support/start")
    await site.http.post("/sessions/none/api/offer", headers=AS_CLIENT)
    await site.http.get("/no/where")
    assert [count(*name) - was for name, was in zip(names, before, strict=True)] == [1, 1, 1]
