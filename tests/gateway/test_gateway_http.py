"""The gateway's routes, over real HTTP and with a real store."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from fastapi import FastAPI
from prometheus_client import REGISTRY

from cordboard import emit
from cordboard.contract.credential import runner_credential
from cordboard.contract.ice import parse_ice_servers
from cordboard.environment import CONTROL_SECRET, CONTROL_SECRET_PREV, TURN_SECRET
from cordboard.gateway import joins
from cordboard.gateway.app import create_app
from cordboard.settings import Settings
from cordboard.store import Holder, RedisStore, Registration, Suspicion
from tests_support import StandIn, served, until

SECRET = "s3cret"


@dataclass
class Gateway:
    """A served gateway, and a client with its secret."""

    url: str
    client: aiohttp.ClientSession
    store: RedisStore

    async def ask(
        self, method: str, path: str, body: Any = None, **more: Any
    ) -> tuple[int, Any, Any]:
        async with self.client.request(method, path, json=body, **more) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text else None, answer.headers

    async def join(self, **body: Any) -> tuple[int, Any, Any]:
        return await self.ask("POST", "/join", {"room_url": "webrtc:demo"} | body)

    async def run(self, session_id: str, epoch: int, url: str = "http://127.0.0.1:9") -> None:
        """Bring a joined session to running, as an operator and a runner would."""
        await self.store.register(Registration("r1", url, capacity=9))
        await self.store.placement.assign(session_id, epoch)
        await self.store.confirm_running(session_id, epoch, Holder("r1", url, "warm", 42))


SETTINGS = Settings(queue_max=5)


@asynccontextmanager
async def serving(app: FastAPI, store: RedisStore) -> AsyncIterator[Gateway]:
    async with served(app) as url:
        headers = {"Authorization": f"Bearer {SECRET}"}
        async with aiohttp.ClientSession(url, headers=headers) as client:
            yield Gateway(url, client, store)


@pytest.fixture
async def gateway(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateway]:
    monkeypatch.setenv(CONTROL_SECRET, SECRET)
    async with serving(create_app(SETTINGS, store), store) as running:
        yield running


class TestJoin:
    async def test_join_in_free_room_returns_a_new_session(self, gateway: Gateway) -> None:
        """202, with the id unchanged in the body and the header."""
        status, body, headers = await gateway.join(sessionId="Call~7:@x", room_url="webrtc:demo/")
        assert status == 202
        assert body["sessionId"] == headers["X-Session-Id"] == "Call~7:@x"
        assert body["room_url"] == "webrtc:demo"
        assert (body["status"], body["reused"], body["epoch"]) == ("queued", False, 1)
        assert body["createdAt"].endswith("Z")

    async def test_join_with_the_id_of_a_live_session_returns_it(self, gateway: Gateway) -> None:
        """A repeated join is answered with 200."""
        await gateway.join(sessionId="a")
        status, body, _ = await gateway.join(sessionId="a")
        assert (status, body["sessionId"], body["reused"]) == (200, "a", True)
        assert "requestedSessionId" not in body

    async def test_join_in_busy_room_returns_the_holder(self, gateway: Gateway) -> None:
        """200 with the holder's id, and the requested id as ``requestedSessionId``."""
        await gateway.join(sessionId="a")
        status, body, _ = await gateway.join(sessionId="b")
        assert (status, body["sessionId"], body["requestedSessionId"]) == (200, "a", "b")

    async def test_join_with_an_id_that_is_live_in_another_room_is_session_in_use(
        self, gateway: Gateway
    ) -> None:
        """409, with the id in the header."""
        await gateway.join(sessionId="a")
        status, body, headers = await gateway.join(sessionId="a", room_url="webrtc:else")
        assert (status, body["code"]) == (409, "session_in_use")
        assert headers["Content-Type"] == "application/problem+json"
        assert headers["X-Session-Id"] == "a"

    async def test_join_that_fails_unexpectedly_is_counted(
        self, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As ``internal_error``, for which an alarm asks."""

        def fail(*_: object) -> None:
            raise ZeroDivisionError

        labels = {"result": "internal_error"}
        before = REGISTRY.get_sample_value("cordboard_joins_total", labels)
        monkeypatch.setattr(joins, "check_cell", fail)
        assert (await gateway.join())[0] == 500
        after = REGISTRY.get_sample_value("cordboard_joins_total", labels)
        assert before is not None
        assert after == before + 1

    @pytest.mark.parametrize("absent", [{}, {"sessionId": ""}, {"sessionId": None}])
    async def test_join_without_an_id_gets_one(
        self, gateway: Gateway, absent: dict[str, Any]
    ) -> None:
        """An absent or empty id is replaced by a new one, with one warning."""
        with emit.capture() as records:
            _, body, _ = await gateway.join(**absent)
        assert len(body["sessionId"]) == 36
        (warning,) = [r for r in records if r["level"] == "warn"]
        assert warning["sessionId"] == body["sessionId"]

    @pytest.mark.parametrize(
        ("over", "field"),
        [
            ({"sessionId": "has blank"}, "sessionId"),
            ({"sessionId": "x" * 129}, "sessionId"),
            ({"room_url": "nowhere"}, "room_url"),
            ({"room_url": ""}, "room_url"),
            ({"deadlineSeconds": 0}, "deadlineSeconds"),
            ({"deadlineSeconds": 601}, "deadlineSeconds"),
            ({"body": []}, "body"),
        ],
    )
    async def test_malformed_join_is_422_and_names_the_field(
        self, gateway: Gateway, over: dict[str, Any], field: str
    ) -> None:
        """Nothing is stored."""
        status, body, headers = await gateway.join(**over)
        assert status == 422
        assert headers["Content-Type"] == "application/problem+json"
        assert body["errors"][0]["field"] == field
        assert "Value error" not in body["detail"]
        assert (await gateway.store.sessions())[0] == []

    async def test_malformed_join_names_the_session_of_its_body(self, gateway: Gateway) -> None:
        """In header and body; ``join.refused`` is the session's line. A malformed id is nobody's."""
        with emit.capture() as records:
            status, body, headers = await gateway.join(sessionId="call-7", deadlineSeconds="60")
            _, unnamed, other = await gateway.join(sessionId="has blank")
        assert status == 422
        assert headers["X-Session-Id"] == body["sessionId"] == "call-7"
        assert "X-Session-Id" not in other
        assert "sessionId" not in unnamed
        refused = [r for r in records if r.get("event") == "join.refused"]
        assert [r["meta"]["reason"] for r in refused] == ["invalid", "invalid"]
        assert refused[0]["sessionId"] == "call-7"
        assert refused[1]["sessionId"].startswith("server:")

    async def test_body_that_is_not_json_is_422(self, gateway: Gateway) -> None:
        """A truncated JSON document is refused."""
        headers = {"Content-Type": "application/json"}
        async with gateway.client.post("/join", data=b"{", headers=headers) as answer:
            assert answer.status == 422

    async def test_body_over_the_limit_is_413(self, gateway: Gateway) -> None:
        """Whether its length is declared or not."""

        async def stream() -> AsyncIterator[bytes]:
            for _ in range(70):
                yield b" " * 16_384

        status, body, _ = await gateway.join(body={"x": "y" * 1_100_000})
        assert (status, body["code"]) == (413, "too_large")
        async with gateway.client.post("/join", data=stream()) as answer:
            assert answer.status == 413

    async def test_join_with_a_full_queue_is_429_with_retry_after(self, gateway: Gateway) -> None:
        """An empty wait gives the shortest ``Retry-After``."""
        for i in range(5):
            await gateway.join(sessionId=f"s{i}", room_url=f"webrtc:{i}")
        status, body, headers = await gateway.join(sessionId="more", room_url="webrtc:more")
        assert (status, body["code"]) == (429, "queue_full")
        assert int(headers["Retry-After"]) == 1

    @pytest.mark.parametrize(("waited_s", "retry_s"), [(0, 1), (21, 11), (3600, 60)])
    async def test_retry_after_is_half_the_wait_of_the_oldest_join(
        self, gateway: Gateway, waited_s: int, retry_s: int
    ) -> None:
        """It is between 1 and 60 s."""
        store = gateway.store
        at_ms = await store.connection.now_ms() - waited_s * 1000
        for i in range(5):
            await store.connection.client.xadd(store.keys.launches, {"v": "1"}, id=f"{at_ms}-{i}")
        status, _, headers = await gateway.join()
        assert status == 429
        # The clock may go on to the next second meanwhile.
        assert int(headers["Retry-After"]) in {retry_s, min(retry_s + 1, 60)}

    async def test_other_fields_of_a_join_reach_the_bot(self, gateway: Gateway) -> None:
        """Other top-level fields are added to ``body``."""
        await gateway.join(sessionId="a", lang="cy", body={"x": 1}, sessionUserName="Ada Łovelace")
        launch = await gateway.store.launch_record("a", 1)
        assert launch.body == {"lang": "cy", "x": 1}
        assert launch.user_name == "Ada Łovelace"

    async def test_join_with_wait_is_answered_when_the_session_runs(self, gateway: Gateway) -> None:
        """The status in the response is ``running``."""
        waiting = asyncio.create_task(
            gateway.ask("POST", "/join?wait=10", {"room_url": "webrtc:w", "sessionId": "w"})
        )
        await until(gateway.store.queue.depth)
        await gateway.run("w", 1)
        _, body, _ = await waiting
        assert body["status"] == "running"

    async def test_start_is_an_alias_of_join(self, gateway: Gateway) -> None:
        """``POST /start`` accepts a join."""
        status, _, _ = await gateway.ask("POST", "/start", {"room_url": "webrtc:demo"})
        assert status == 202

    async def test_events_of_joins_are_logged_with_the_session(self, gateway: Gateway) -> None:
        """Each join logs one event when it arrives and one with its result."""
        with emit.capture() as records:
            await gateway.join(sessionId="a", sessionUserId="u-1", sessionUserName="Ada")
            await gateway.join(sessionId="a")
            await gateway.join(sessionId="a", room_url="webrtc:else")
        events = [r["event"] for r in records if "event" in r]
        assert events == [
            "join.received",
            "join.accepted",
            "join.received",
            "join.reused",
            "join.received",
            "join.refused",
        ]
        assert {r["sessionId"] for r in records if "event" in r} == {"a"}
        assert records[0]["userName"] == "Ada"


class TestAuthentication:
    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({}, 401),
            ({"Authorization": "Bearer wrong"}, 401),
            ({"Authorization": SECRET}, 401),
            ({"X-Bot-Secret": "wrong"}, 401),
            ({"X-Bot-Secret": SECRET}, 202),
            ({"Authorization": f"bearer {SECRET}"}, 202),
            ({"Authorization": "Bearer previous"}, 202),
        ],
    )
    async def test_current_and_previous_secret_are_accepted(
        self,
        gateway: Gateway,
        monkeypatch: pytest.MonkeyPatch,
        headers: dict[str, str],
        status: int,
    ) -> None:
        """Nothing else is; a new previous secret counts without a restart."""
        monkeypatch.setenv(CONTROL_SECRET_PREV, "previous")
        async with (
            aiohttp.ClientSession(gateway.url) as client,
            client.post("/join", json={"room_url": "webrtc:demo"}, headers=headers) as answer,
        ):
            assert answer.status == status

    async def test_secret_is_checked_before_the_body(self, gateway: Gateway) -> None:
        """A caller without the secret gets 401 even if its body is malformed."""
        async with (
            aiohttp.ClientSession(gateway.url) as client,
            client.post("/join", data=b"{") as answer,
        ):
            assert answer.status == 401

    @pytest.mark.parametrize(
        ("path", "status"), [("/healthz", 200), ("/readyz", 200), ("/metrics", 401)]
    )
    async def test_health_checks_need_no_secret(
        self, gateway: Gateway, path: str, status: int
    ) -> None:
        """Metrics need it."""
        async with (
            aiohttp.ClientSession(gateway.url) as client,
            client.get(path) as answer,
        ):
            assert answer.status == status


class TestLeave:
    async def test_leave_says_why(self, gateway: Gateway) -> None:
        """The record has the detail, whether the session had run or not; its runner's own has precedence."""
        for session_id, runs, detail in (("a", False, None), ("b", True, None), ("c", True, "own")):
            room = f"webrtc:{session_id}"
            await gateway.join(sessionId=session_id, room_url=room)
            if runs:
                await gateway.run(session_id, 1)
            await gateway.ask("POST", "/leave", {"sessionId": session_id, "detail": "Nobody came."})
            if runs:
                await gateway.store.finish(session_id, 1, "left", detail)
            record = await gateway.store.session(session_id)
            assert record.detail == (detail or "Nobody came.")
        status, _, _ = await gateway.ask("POST", "/leave", {"sessionId": "a", "detail": "x" * 301})
        assert status == 422

    async def test_leave_cancels_a_queued_session(self, gateway: Gateway) -> None:
        """It is final at once."""
        await gateway.join(sessionId="a")
        status, body, _ = await gateway.ask("POST", "/leave", {"sessionId": "a"})
        assert (status, body) == (
            200,
            {"sessionId": "a", "room_url": "webrtc:demo", "status": "cancelled"},
        )

    async def test_leave_of_an_unknown_session_is_absent(self, gateway: Gateway) -> None:
        """200: nothing is left to end."""
        status, body, _ = await gateway.ask("POST", "/leave", {"sessionId": "never"})
        assert (status, body["status"]) == (200, "absent")

    async def test_leave_of_a_room_of_another_session_is_not_holder(self, gateway: Gateway) -> None:
        """409."""
        await gateway.join(sessionId="a")
        status, body, _ = await gateway.ask(
            "POST", "/leave", {"sessionId": "b", "room_url": "webrtc:demo"}
        )
        assert (status, body["code"]) == (409, "not_holder")

    async def test_leave_without_an_id_needs_force(self, gateway: Gateway) -> None:
        """422 with a room alone."""
        status, _, _ = await gateway.ask("POST", "/leave", {"room_url": "webrtc:demo"})
        assert status == 422

    async def test_address_of_the_runner_is_in_the_record_on_request(
        self, gateway: Gateway, stand_in: StandIn
    ) -> None:
        """Only with ``runner=true``, and only while a runner has the session."""
        await gateway.join(sessionId="a")
        _, queued, _ = await gateway.ask("GET", "/sessions/a?runner=true")
        await gateway.run("a", 1, stand_in.url)
        _, running, _ = await gateway.ask("GET", "/sessions/a?runner=true")
        _, plain, _ = await gateway.ask("GET", "/sessions/a")
        assert "runnerUrl" not in queued
        assert "runnerUrl" not in plain
        assert running["runnerUrl"] == stand_in.url

    async def test_leave_is_answered_when_the_session_has_ended(
        self, gateway: Gateway, stand_in: StandIn
    ) -> None:
        """The runner is asked to stop the bot, with the session's id and a credential for its address."""
        await gateway.join(sessionId="a")
        await gateway.run("a", 1, stand_in.url)
        stand_in.answers["/leave"] = (200, {})
        leaving = asyncio.create_task(
            gateway.ask("POST", "/leave", {"room_url": "webrtc:demo", "force": True})
        )
        await until(lambda: stand_in.asked)
        assert not leaving.done()
        method, path, _, headers = stand_in.asked[0]
        assert (method, path) == ("POST", "/sessions/a/leave")
        assert headers["authorization"] == f"Bearer {runner_credential(SECRET, stand_in.url)}"
        assert headers["x-session-id"] == "a"
        await gateway.store.finish("a", 1, "left")
        status, body, _ = await leaving
        assert (status, body["status"]) == (200, "ended")

    async def test_join_waits_until_a_leaving_bot_is_gone(
        self, gateway: Gateway, stand_in: StandIn
    ) -> None:
        """It then gets a new session with the next epoch."""
        await gateway.join(sessionId="a")
        await gateway.run("a", 1, stand_in.url)
        stand_in.answers["/leave"] = (200, {})
        leaving = asyncio.create_task(gateway.ask("POST", "/leave", {"sessionId": "a"}))
        await until(lambda: stand_in.asked)
        joining = asyncio.create_task(gateway.join(sessionId="b"))
        await asyncio.sleep(0.2)
        assert not joining.done()
        await gateway.store.finish("a", 1, "left")
        status, body, _ = await joining
        assert (status, body["sessionId"], body["epoch"]) == (202, "b", 2)
        await leaving

    async def test_leave_that_is_not_confirmed_in_time_is_stopping(
        self, store: RedisStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """202, and the session is still live."""
        monkeypatch.setenv(CONTROL_SECRET, SECRET)
        async with serving(create_app(SETTINGS, store, leave_timeout_s=0.2), store) as gateway:
            await gateway.join(sessionId="a")
            await gateway.run("a", 1, "http://127.0.0.1:9")
            status, body, _ = await gateway.ask("POST", "/leave", {"sessionId": "a"})
        assert (status, body["status"]) == (202, "stopping")


class TestSessions:
    async def test_record_has_its_stages_and_no_absent_value(self, gateway: Gateway) -> None:
        """Nor does it have the room's token."""
        await gateway.join(sessionId="a", sessionUserName="Ada", token="hush")
        await gateway.run("a", 1)
        status, body, _ = await gateway.ask("GET", "/sessions/a")
        assert status == 200
        assert (body["status"], body["runner"], body["pid"]) == ("running", "r1", 42)
        assert list(body["stages"]) == ["queued", "starting", "running"]
        assert None not in body.values()
        assert "hush" not in json.dumps(body)

    @pytest.mark.parametrize(
        "path", ["/sessions/never", "/sessions/%20bad", "/sessions/never/events"]
    )
    async def test_unknown_session_is_404(self, gateway: Gateway, path: str) -> None:
        """A malformed id is unknown, too."""
        status, body, _ = await gateway.ask("GET", path)
        assert (status, body["code"]) == (404, "not_found")

    async def test_sessions_are_listed_newest_first(self, gateway: Gateway) -> None:
        """The list has pages and filters."""
        for i in range(3):
            await gateway.join(sessionId=f"s{i}", room_url=f"webrtc:{i}")
            await asyncio.sleep(0.002)
        _, page, _ = await gateway.ask("GET", "/sessions?limit=2")
        assert [item["sessionId"] for item in page["sessions"]] == ["s2", "s1"]
        _, rest, _ = await gateway.ask("GET", "/sessions", params={"cursor": page["nextCursor"]})
        assert [item["sessionId"] for item in rest["sessions"]] == ["s0"]
        for query, expected in (
            ("live=true", ["s2", "s1", "s0"]),
            ("reason=left", []),
            ("until=2020-01-01T00:00:00Z", []),
            ("since=2020-01-01T00:00:00Z&user=nobody", []),
        ):
            _, found, _ = await gateway.ask("GET", f"/sessions?{query}")
            assert [item["sessionId"] for item in found["sessions"]] == expected, query
        assert (await gateway.ask("GET", "/sessions?since=2020-01-01"))[0] == 422
        _, plane, _ = await gateway.ask("GET", "/overview")
        assert (plane["queued"], plane["live"]) == (3, 3)
        _, found, _ = await gateway.ask("GET", "/sessions?room_url=WEBRTC:1")
        assert [item["sessionId"] for item in found["sessions"]] == ["s1"]

    @pytest.mark.parametrize("query", ["state=odd", "limit=0", "cursor=odd", "room_url=odd"])
    async def test_malformed_query_is_422(self, gateway: Gateway, query: str) -> None:
        """Each parameter is checked."""
        status, _, _ = await gateway.ask("GET", f"/sessions?{query}")
        assert status == 422

    async def test_event_stream_has_every_state_change(self, gateway: Gateway) -> None:
        """The stream has every state change and ends with the final state."""
        await gateway.join(sessionId="a")
        async with gateway.client.get("/sessions/a/events") as answer:
            assert answer.content_type == "text/event-stream"
            assert answer.headers["X-Accel-Buffering"] == "no"  # of proxies such as nginx
            first = await answer.content.readline()
            assert first == b"event: state\n"
            await gateway.run("a", 1)
            await gateway.store.finish("a", 1, "left")
            rest = (await answer.text()).splitlines()
        told = [json.loads(line[6:]) for line in rest if line.startswith("data: ")]
        assert [item["status"] for item in told] == ["queued", "starting", "running", "ended"]
        assert told[-1]["reason"] == "left"

    async def test_openapi_document_has_every_route(self, gateway: Gateway) -> None:
        """It describes the gateway to programs; parameters of the code are left out."""
        _, api, _ = await gateway.ask("GET", "/openapi.json")
        assert {
            "/join",
            "/leave",
            "/sessions",
            "/sessions/{session_id}",
            "/sessions/{session_id}/offer",
        } <= set(api["paths"])
        assert "Args:" not in json.dumps(api)

    async def test_docs_page_describes_every_call_without_scripts(self, gateway: Gateway) -> None:
        """It has the calls and the fields of their bodies, and loads nothing."""
        async with gateway.client.get("/docs") as answer:
            page = await answer.text()
            assert answer.status == 200
            assert answer.content_type == "text/html"
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        _, api, _ = await gateway.ask("GET", "/openapi.json")
        for path, operations in api["paths"].items():
            for method in operations:
                assert f"<code>{method.upper()} {path}</code>" in page
        assert "<code>deadlineSeconds</code></td><td>body</td><td>integer from 1 to 600" in page
        assert "{{" not in page
        assert "<script" not in page
        assert "://" not in page


TURN = Settings(
    ice_servers=parse_ice_servers(["stun:stun.example.com", "turn:turn.example.com"]),
    turn_credentials_s=60,
)


class TestIce:
    @pytest.fixture
    async def gateway(
        self, store: RedisStore, monkeypatch: pytest.MonkeyPatch
    ) -> AsyncIterator[Gateway]:
        """A gateway with a STUN and a TURN server."""
        monkeypatch.setenv(CONTROL_SECRET, SECRET)
        monkeypatch.setenv(TURN_SECRET, "the-secret-of-the-turn-server")
        async with serving(create_app(TURN, store), store) as running:
            yield running

    async def test_join_has_the_sessions_ice_servers(self, gateway: Gateway) -> None:
        """The answer has credentials of the session that holds the room; no line contains them."""
        with emit.capture() as records:
            _, first, _ = await gateway.join(sessionId="call:7")
            _, second, _ = await gateway.join(sessionId="other")
        stun, turn = first["iceConfig"]["iceServers"]
        assert stun == {"urls": ["stun:stun.example.com"]}
        assert turn["urls"] == ["turn:turn.example.com"]
        expiry, _, session = turn["username"].partition(":")
        assert 50 < int(expiry) - time.time() <= 60
        assert session == "call:7"
        assert second["iceConfig"]["iceServers"][1]["username"].endswith(":call:7")
        assert turn["credential"] not in str(records)

    async def test_join_in_another_room_has_none(self, gateway: Gateway) -> None:
        """The media of a provider's room pass through the provider."""
        _, body, _ = await gateway.join(room_url="https://acme.daily.co/x")
        assert "iceConfig" not in body

    async def test_caller_who_reconnects_gets_new_credentials(self, gateway: Gateway) -> None:
        """`GET .../ice` has the servers of the join's answer, until the session ends."""
        _, joined, _ = await gateway.join(sessionId="a")
        status, config, headers = await gateway.ask("GET", "/sessions/a/ice")
        assert (status, headers["Cache-Control"]) == (200, "no-store")
        urls = [server["urls"] for server in config["iceServers"]]
        assert urls == [server["urls"] for server in joined["iceConfig"]["iceServers"]]
        assert config["iceServers"][1]["username"].endswith(":a")
        await gateway.ask("POST", "/leave", {"sessionId": "a"})
        status, body, _ = await gateway.ask("GET", "/sessions/a/ice")
        assert (status, body["code"]) == (409, "conflict")
        assert (await gateway.ask("GET", "/sessions/nobody/ice"))[0] == 404


async def test_without_servers_no_join_has_any(gateway: Gateway) -> None:
    """The answer is as before, and a session's servers are an empty list."""
    _, body, _ = await gateway.join(sessionId="a")
    assert "iceConfig" not in body
    assert (await gateway.ask("GET", "/sessions/a/ice"))[:2] == (200, {"iceServers": []})


class TestOffer:
    async def test_offer_and_candidates_are_relayed_to_the_runner(
        self, gateway: Gateway, stand_in: StandIn
    ) -> None:
        """The runner's response is returned."""
        await gateway.join(sessionId="a")
        await gateway.run("a", 1, stand_in.url)
        stand_in.answers["/offer"] = (200, {"sdp": "answer", "type": "answer", "pc_id": "p"})
        status, body, _ = await gateway.ask(
            "POST", "/sessions/a/offer", {"sdp": "x", "type": "offer"}
        )
        assert (status, body["sdp"]) == (200, "answer")
        await gateway.ask("PATCH", "/sessions/a/offer", {"pc_id": "p", "candidates": []})
        assert [(method, path) for method, path, _, _ in stand_in.asked] == [
            ("POST", "/sessions/a/offer"),
            ("PATCH", "/sessions/a/offer"),
        ]
        assert stand_in.asked[0][2] == {"sdp": "x", "type": "offer"}

    async def test_hint_reaches_the_operators(self, gateway: Gateway, stand_in: StandIn) -> None:
        """With the session's state; without the secret, or for an unknown session, none does."""
        await gateway.join(sessionId="a")
        await gateway.run("a", 1, stand_in.url)
        async with gateway.store.reader.suspicions() as suspicions:
            status, body, _ = await gateway.ask("POST", "/sessions/a/suspect")
            assert (status, body) == (202, {"sessionId": "a", "status": "running"})
            assert await anext(suspicions) == Suspicion("a", 1)
        status, _, _ = await gateway.ask("POST", "/sessions/never/suspect")
        assert status == 404
        status, _, _ = await gateway.ask(
            "POST", "/sessions/a/suspect", headers={"Authorization": "Bearer x"}
        )
        assert status == 401
        assert stand_in.asked == []

    async def test_offer_before_the_session_runs_is_409(self, gateway: Gateway) -> None:
        """The hint says how to wait."""
        await gateway.join(sessionId="a")
        status, body, _ = await gateway.ask("POST", "/sessions/a/offer", {})
        assert (status, body["code"]) == (409, "conflict")
        assert body["hint"]

    async def test_offer_to_an_unreachable_runner_is_502(self, gateway: Gateway) -> None:
        """The error does not contain the runner's address."""
        await gateway.join(sessionId="a")
        await gateway.run("a", 1, "http://127.0.0.1:9")
        status, body, _ = await gateway.ask("POST", "/sessions/a/offer", {})
        assert (status, body["code"]) == (502, "runner_unreachable")
        assert "127.0.0.1" not in str(body)

    @pytest.mark.parametrize("answer", [(401, {}), (403, {}), (302, {})])
    async def test_response_that_is_not_a_runners_is_502(
        self, gateway: Gateway, stand_in: StandIn, answer: tuple[int, Any]
    ) -> None:
        """A 401 or a redirect from the runner's address is not passed on to the caller."""
        await gateway.join(sessionId="a")
        await gateway.run("a", 1, stand_in.url)
        stand_in.answers["/offer"] = answer
        status, body, _ = await gateway.ask("POST", "/sessions/a/offer", {})
        assert (status, body["code"]) == (502, "runner_unreachable")


async def test_without_redis_joins_are_503_and_health_checks_pass() -> None:
    """Joins get ``Retry-After``; readiness fails, liveness does not."""
    from cordboard.store import open_store

    async with (
        served(create_app(Settings(), open_store("redis://127.0.0.1:1/0"))) as url,
        aiohttp.ClientSession(url) as client,
    ):
        async with client.post(
            "/join", json={"room_url": "webrtc:demo", "sessionId": "a"}
        ) as answer:
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) > 0
            assert answer.headers["X-Session-Id"] == "a"
        async with client.get("/healthz") as answer:
            assert answer.status == 200
        async with client.get("/readyz") as answer:
            assert answer.status == 503
