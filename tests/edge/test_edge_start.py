"""``POST /start``: Pipecat's answers, the room's proof, waiting, refusals."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cordboard.contract.ice import parse_ice_servers, turn_credentials
from cordboard.contract.launch import Launch
from cordboard.environment import CONTROL_SECRET, TURN_SECRET
from cordboard.store import RedisStore, open_store
from edge.edge_support import AS_CLIENT, AS_SUPPORT, CONTROL, KEYS, SECRET, Site, open_site
from lines_support import Lines, lines
from tests_support import StandIn

__all__ = ["lines"]
ROOM = {"room_url": "webrtc:standup", "sessionId": "call-7"}


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONTROL_SECRET, SECRET)


@pytest.fixture
async def site(store: RedisStore, stand_in: StandIn) -> AsyncIterator[Site]:
    async with open_site(store, stand_in) as here:
        yield here


async def launched(site: Site, session_id: str) -> Launch:
    """Return the launch of a session, as a runner gets it."""
    epoch = (await site.store.session(session_id)).epoch
    return await site.store.launch_record(session_id, epoch)


class TestAnswers:
    async def test_webrtc_is_the_default(self, site: Site) -> None:
        """The answer has the session id alone; the header repeats it."""
        answer = await site.started("call-1")
        assert (answer.status_code, answer.json()) == (200, {"sessionId": "call-1"})
        assert answer.headers["X-Session-Id"] == "call-1"
        assert answer.headers["Cache-Control"] == "no-store"
        assert (await site.store.session("call-1")).room_url == "webrtc:call-1"

    async def test_default_ice_servers_are_given_on_request(self, site: Site) -> None:
        """Pipecat's own runner names the same server."""
        answer = await site.started("call-1", {"enableDefaultIceServers": True})
        servers = [{"urls": ["stun:stun.l.google.com:19302"]}]
        assert answer.json() == {"sessionId": "call-1", "iceConfig": {"iceServers": servers}}

    async def test_configured_ice_servers_come_from_the_gateway(
        self, store: RedisStore, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Only the gateway has the servers and their secret; the answer has the session's credentials."""
        monkeypatch.setenv(TURN_SECRET, "the-secret-of-the-turn-server")
        servers = parse_ice_servers("turn:turn.example.com")
        async with open_site(store, stand_in, ice_servers=servers) as site:
            answer = await site.started("call:1", {"enableDefaultIceServers": True})
        (server,) = answer.json()["iceConfig"]["iceServers"]
        assert server["urls"] == ["turn:turn.example.com"]
        expiry, _, session_id = server["username"].partition(":")
        username, credential = turn_credentials(
            "the-secret-of-the-turn-server", session_id, int(expiry)
        )
        assert (session_id, server["credential"]) == ("call:1", credential)
        assert server["username"] == username

    async def test_websocket_has_one_key(self, site: Site) -> None:
        """Pipecat's client throws at any other key; the token of the URL admits to the session."""
        answer = await site.started("call-1", {"transport": "websocket"})
        (url,) = answer.json().values()
        base, token = url.rsplit("/", 1)
        assert (base, list(answer.json())) == ("ws://localhost/ws-client", ["wsUrl"])
        grant = site.app.state.services.tokens.verify(token, 0)
        assert (grant.session_id, grant.room_url) == ("call-1", "ws:call-1")

    async def test_carriers_get_the_url_of_a_stream(self, site: Site) -> None:
        """A page that acts as a carrier gets a room of that carrier."""
        for carrier in ("twilio", "telnyx", "plivo", "exotel"):
            answer = await site.started(f"call-{carrier}", {"transport": carrier})
            assert answer.json()["wsUrl"].startswith("ws://localhost/ws/")
            room = (await site.store.session(f"call-{carrier}")).room_url
            assert room == f"phone:{carrier}:call-{carrier}"

    async def test_public_url_is_the_address_of_websockets(
        self, store: RedisStore, stand_in: StandIn
    ) -> None:
        """Not the Host header, which the proxy may have changed."""
        async with open_site(
            store, stand_in, public_url="https://voice.example.com/", public_keys=KEYS
        ) as site:
            answer = await site.started("call-1", {"transport": "websocket"}, headers=AS_CLIENT)
        assert answer.json()["wsUrl"].startswith("wss://voice.example.com/ws-client/")

    async def test_id_with_colons_names_a_room(self, site: Site) -> None:
        """Names of webrtc: rooms have no colon; session ids do."""
        answer = await site.started("v3:a:b")
        assert answer.json() == {"sessionId": "v3:a:b"}
        assert (await site.store.session("v3:a:b")).room_url == "webrtc:v3~a~b"

    async def test_service_without_a_key_is_named(self, site: Site) -> None:
        """400 says which one is not configured; the older clients' hint means Daily."""
        for body in ({"transport": "daily"}, {"transport": "livekit"}, {"createDailyRoom": True}):
            answer = await site.start(body)
            assert answer.status_code == 400
            assert f"{body.get('transport', 'daily')} is not configured" in answer.json()["detail"]


class TestRequests:
    async def test_body_that_is_no_object_counts_as_empty(self, site: Site) -> None:
        """As Pipecat's runner has it."""
        for content in (b"", b"{", b"[]", b'"x"', b"\xff", b"null", b"[" * 5000):
            headers = {"X-Session-Id": "call-1", "Content-Type": "text/plain"}
            answer = await site.http.post("/start", content=content, headers=headers)
            assert answer.json() == {"sessionId": "call-1"}, content[:9]

    async def test_only_the_body_reaches_the_bot(self, site: Site) -> None:
        """Neither keys that we know nor others leak into it."""
        body = {"body": {"a": [1, {}]}, "transport": "webrtc", "unknown": 1, "sessionId": "call-1"}
        await site.start(body)
        launch = await launched(site, "call-1")
        assert (launch.body, launch.user_id) == ({"a": [1, {}]}, None)

    async def test_a_new_id_is_made(self, site: Site) -> None:
        """A client need not choose one."""
        ids = {(await site.start()).json()["sessionId"] for _ in range(2)}
        assert len(ids) == 2

    async def test_value_that_no_bot_could_get_is_named(self, site: Site) -> None:
        """422 with a detail, which the client shows."""
        bodies: list[tuple[dict[str, Any], str]] = [
            ({"sessionId": "a b"}, "session"),
            ({"sessionId": 7}, "session"),
            ({"body": [1]}, "body"),
            ({"body": "x"}, "body"),
            ({"body": {"x": float("nan")}}, "NaN"),
            ({"body": {"x": 2**70}}, "64 bits"),
            ({"transport": "daily", "dailyRoomProperties": 5}, "dailyRoomProperties"),
        ]
        for body, field in bodies:
            answer = await site.start(body)
            assert answer.status_code == 422
            assert field in answer.json()["detail"]

    async def test_unknown_transport_is_400(self, site: Site) -> None:
        """As in Pipecat's runner, with the transports that there are."""
        transports: list[Any] = ["moq", "", 5, [], {}, True, "x" * 10_000]
        for transport in transports:
            answer = await site.start({"transport": transport})
            assert answer.status_code == 400
            assert "webrtc, daily" in answer.json()["hint"]
            assert len(answer.content) < 500

    async def test_identity_needs_the_control_secret(self, site: Site) -> None:
        """A browser cannot claim to be somebody; a server names its user."""
        claims = {"X-User-Id": "u-1", "X-User-Name": "Ada"}
        await site.start({"sessionId": "open"}, headers=claims)
        assert (await launched(site, "open")).user_id is None
        await site.start({"sessionId": "server"}, headers=claims | CONTROL)
        launch = await launched(site, "server")
        assert (launch.user_id, launch.user_name) == ("u-1", "Ada")

    async def test_body_of_nearly_a_megabyte_is_accepted(self, site: Site) -> None:
        """Also where the text grows when it is written again."""
        text = "é" * 490_000
        assert (await site.start({"sessionId": "big", "body": {"x": text}})).status_code == 413
        content = json.dumps({"sessionId": "big", "body": {"x": text}}, ensure_ascii=False).encode()
        answer = await site.http.post("/start", content=content)
        assert answer.status_code == 200
        assert (await launched(site, "big")).body == {"x": text}


class TestWaiting:
    async def test_answer_comes_before_a_cold_bot_runs(self, site: Site) -> None:
        """The offer is held longer, so the answer need not wait for ever."""
        answer = await site.start({"sessionId": "cold"})
        assert (answer.status_code, answer.json()) == (200, {"sessionId": "cold"})
        assert (await site.store.session("cold")).state == "queued"

    async def test_repeated_start_meets_its_session(self, site: Site) -> None:
        """A client that got no answer tries again with its id."""
        first, second = await site.started("call-1"), await site.start({"sessionId": "call-1"})
        assert first.json() == second.json()
        assert (await site.store.session("call-1")).epoch == 1

    async def test_session_that_failed_is_named(self, site: Site) -> None:
        """503: the client can show why, and try again."""

        async def fail() -> None:
            await site.run("call-1")
            await site.store.finish("call-1", 1, "bot_crashed", "ValueError")

        failing = asyncio.create_task(fail())
        answer = await site.start({"sessionId": "call-1"})
        await failing
        if answer.status_code != 200:  # else it was seen while it ran
            assert (answer.status_code, answer.json()["code"]) == (503, "start_failed")
        again = await site.start({"sessionId": "call-1"})
        assert again.status_code == 200  # a new session under the id


class TestRefusals:
    async def test_full_queue_is_429(self, store: RedisStore, stand_in: StandIn) -> None:
        """With the seconds to wait, and a detail that the client shows."""
        async with open_site(store, stand_in, queue_max=1) as site:
            await site.start({"sessionId": "one"})
            answer = await site.start({"sessionId": "two"})
        assert (answer.status_code, answer.json()["code"]) == (429, "queue_full")
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.json()["detail"]

    async def test_redis_away_is_503(self, stand_in: StandIn) -> None:
        """With Retry-After, so that a client tries again."""
        away: Any = open_store("redis://127.0.0.1:1/0")
        async with open_site(away, stand_in) as site:
            answer = await site.start()
            offer = await site.http.post("/sessions/x/api/offer", json={})
        for each in (answer, offer):
            assert each.status_code == 503
            assert int(each.headers["Retry-After"]) >= 1

    async def test_other_bots_session_is_not_shown(
        self, store: RedisStore, stand_in: StandIn
    ) -> None:
        """An id that another bot's session has is in use; nothing else is said."""
        async with open_site(store, stand_in, public_keys=KEYS) as site:
            await site.started("call-1", headers=CONTROL)
            answer = await site.start({"sessionId": "call-1"}, headers=AS_SUPPORT)
        assert answer.status_code == 409
        assert "default" not in answer.text

    async def test_held_room_is_a_conflict(self, site: Site) -> None:
        """The holder's id, which is that caller's proof, is not in the answer."""
        await site.http.post(
            "/start", json=ROOM | {"room_url": "webrtc:call-1", "sessionId": "holder"},
            headers=CONTROL,
        )  # fmt: skip
        answer = await site.start({"sessionId": "call-1"})
        assert answer.status_code == 409
        assert "holder" not in answer.text


class TestJoin:
    async def test_room_url_makes_it_a_join(self, site: Site) -> None:
        """The gateway's answer and statuses, and the join's own fields."""
        first = await site.http.post("/start", json=ROOM | {"x": 1}, headers=CONTROL)
        again = await site.http.post("/start?wait=0.1", json=ROOM, headers=CONTROL)
        assert (first.status_code, again.status_code) == (202, 200)
        assert first.json()["room_url"] == "webrtc:standup"
        assert first.headers["X-Session-Id"] == "call-7"
        assert (await launched(site, "call-7")).body == {"x": 1}
        bad = await site.http.post("/start", json={"room_url": "x"}, headers=CONTROL)
        assert (bad.status_code, bad.json()["code"]) == (422, "invalid")

    async def test_join_needs_the_control_secret(self, site: Site) -> None:
        """On loopback as well: it joins any room, with any user."""
        answer = await site.http.post("/start", json=ROOM)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")

    async def test_join_is_open_where_the_gateway_is(
        self, store: RedisStore, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """On loopback without a secret neither asks for one."""
        monkeypatch.delenv(CONTROL_SECRET)
        async with open_site(store, stand_in) as site:
            assert (await site.http.post("/start", json=ROOM)).status_code == 202


async def test_every_line_of_a_start_has_its_session(site: Site, lines: Lines) -> None:
    """From the first line on; no line is the server's."""
    await site.start({"sessionId": "call-1"})
    ours = [r for r in lines() if r["tag"] in {"edge", "http"} and r["message"] != "Listening"]
    started = [r for r in ours if r.get("event") == "join.requested"]
    assert [r["meta"]["transport"] for r in started] == ["webrtc"]
    assert [r["sessionId"] for r in started] == ["call-1"]
    access = [r for r in ours if r["meta"].get("path") == "/start"]
    assert [r["sessionId"] for r in access] == ["call-1"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
bodies = st.dictionaries(
    st.sampled_from(
        ["transport", "body", "sessionId", "createDailyRoom", "enableDefaultIceServers", "room_url",
         "dailyRoomProperties", "namespace", "sdp", "type", "pc_id", "\ud800"]
    ),
    json_values | st.sampled_from(["webrtc", "websocket", "twilio", "offer", "v=0", "a@b", "\ud800"]),
    max_size=6,
).map(lambda body: json.dumps(body).encode())  # fmt: skip


async def test_no_body_causes_a_server_error(stand_in: StandIn) -> None:
    """Whatever the bytes: an answer, a refusal of 4xx, or 503, as Redis is away here."""
    away: Any = open_store("redis://127.0.0.1:1/0")
    loop = asyncio.get_running_loop()
    async with open_site(away, stand_in) as site:

        async def ask(content: bytes) -> None:
            for method, path in (
                ("POST", "/start"), ("POST", "/v1/public/support/start"), ("POST", "/api/offer"),
                ("PATCH", "/api/offer"), ("POST", "/sessions/s/api/offer"),
            ):  # fmt: skip
                answer = await site.http.request(method, path, content=content)
                assert answer.status_code in {200, 400, 401, 404, 409, 413, 422, 503}, answer.text

        @settings(
            max_examples=12, deadline=None, derandomize=True, suppress_health_check=[*HealthCheck]
        )
        @given(st.binary(max_size=60) | bodies)
        @example(b'{"body":' + b"[" * 900 + b"]" * 900 + b"}")
        @example(b'{"sdp":"v=0\\ud800","type":"offer"}')
        def check(content: bytes) -> None:
            asyncio.run_coroutine_threadsafe(ask(content), loop).result(30)

        await asyncio.to_thread(check)
