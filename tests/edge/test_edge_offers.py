"""Offers and candidates at the edge: held until the session runs, honest at its end."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cordboard.contract.ice import parse_ice_servers
from cordboard.edge.services import DEFAULT_WAITS
from cordboard.environment import CONTROL_SECRET, TURN_SECRET
from cordboard.store import RedisStore
from edge.edge_support import (
    ANSWER,
    AS_CLIENT,
    AS_SUPPORT,
    CONTROL,
    KEYS,
    OFFER,
    SECRET,
    Site,
    open_site,
)
from tests_support import StandIn, until

ROOM = {"room_url": "webrtc:s", "sessionId": "s"}
DEAD = "http://127.0.0.1:9"  # nothing listens there
CONNECTED = (409, {"code": "connected", "detail": "A user is connected.", "status": 409})


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONTROL_SECRET, SECRET)


@pytest.fixture
async def site(store: RedisStore, stand_in: StandIn) -> AsyncIterator[Site]:
    stand_in.answers["/offer"] = (200, ANSWER)
    async with open_site(store, stand_in) as here:
        yield here


@pytest.fixture
async def patient_site(store: RedisStore, stand_in: StandIn) -> AsyncIterator[Site]:
    """An edge that waits longer than the test may last."""
    async with open_site(store, stand_in, waits=DEFAULT_WAITS) as here:
        yield here


def offers(stand_in: StandIn) -> list[tuple[str, Any]]:
    """Return the methods and bodies of the offers that reached the runner."""
    return [(method, body) for method, path, body, _ in stand_in.asked if path.endswith("/offer")]


class TestSessionOffers:
    async def test_answer_has_pipecats_form(self, site: Site, stand_in: StandIn) -> None:
        """For an offer and for candidates, at all paths; the body reaches the bot as it is."""
        await site.started("s")
        body = {**OFFER, "requestData": {"a": 1}, "restart_pc": True, "pc_id": "peer-1"}
        for base in (
            "/sessions/s/api/offer",
            "/sessions/s/offer",
            "/v1/public/default/sessions/s/api/offer",
        ):
            answer = await site.http.post(base, json=body)
            assert (answer.status_code, answer.json()) == (200, ANSWER)
            assert answer.headers["X-Session-Id"] == "s"
            assert offers(stand_in)[-1] == ("POST", body)
            sent = await site.http.patch(base, json={"pc_id": "peer-1", "candidates": []})
            assert (sent.status_code, sent.json()) == (200, {"status": "success"})

    async def test_offer_waits_until_the_session_runs(self, site: Site, stand_in: StandIn) -> None:
        """A client that sends it too early never gets a 4xx, which it takes as final."""
        await site.start({"sessionId": "s"})
        held = asyncio.create_task(site.http.post("/sessions/s/api/offer", json=OFFER))
        await asyncio.sleep(0.1)
        assert not held.done()
        await site.run("s")
        assert (await held).json() == ANSWER
        assert len(offers(stand_in)) == 1

    async def test_offer_of_a_session_that_does_not_run_in_time_is_503(self, site: Site) -> None:
        """With Retry-After: the client tries again, which it would not after a 4xx."""
        await site.start({"sessionId": "s"})
        answer = await site.http.post("/sessions/s/api/offer", json=OFFER)
        assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
        assert int(answer.headers["Retry-After"]) >= 1

    async def test_offer_after_the_end_is_410(self, site: Site) -> None:
        """Final, with the reason; the same for a session that ends while the offer is held."""
        await site.started("s")
        await site.end("s")
        answer = await site.http.post("/sessions/s/api/offer", json=OFFER)
        assert (answer.status_code, answer.json()["code"]) == (410, "session_ended")
        assert "bot_finished" in answer.json()["detail"]
        await site.start({"sessionId": "t"})
        held = asyncio.create_task(site.http.post("/sessions/t/api/offer", json=OFFER))
        await asyncio.sleep(0.1)
        await site.http.post("/sessions/t/leave")
        assert (await held).status_code == 410

    async def test_unknown_session_is_404(self, site: Site) -> None:
        """Whatever the id is made of."""
        for name in ("none", "a%20b", "%ff", "...", "x" * 500):
            answer = await site.http.post(f"/sessions/{name}/api/offer", json=OFFER)
            assert answer.status_code == 404

    async def test_refusal_of_the_bot_reaches_the_client(
        self, site: Site, stand_in: StandIn
    ) -> None:
        """What is no offer is 422 at once."""
        stand_in.answers["/offer"] = (422, {"code": "invalid", "detail": "no media", "status": 422})
        await site.started("s")
        answer = await site.http.post("/sessions/s/api/offer", json={"sdp": "x"})
        assert (answer.status_code, answer.json()["detail"]) == (422, "no media")
        assert len(offers(stand_in)) == 1

    async def test_offer_waits_for_an_earlier_peer_to_go(
        self, site: Site, stand_in: StandIn
    ) -> None:
        """A page that was reloaded gets its answer as soon as its former self has gone."""
        stand_in.answers["/offer"] = CONNECTED
        await site.started("s")
        held = asyncio.create_task(site.http.post("/sessions/s/api/offer", json=OFFER))
        await until(lambda: offers(stand_in))
        stand_in.answers["/offer"] = (200, ANSWER)
        assert (await held).json() == ANSWER

    async def test_live_peer_is_a_final_conflict(self, site: Site, stand_in: StandIn) -> None:
        """After a while, in the runner's words."""
        stand_in.answers["/offer"] = CONNECTED
        await site.started("s")
        answer = await site.http.post("/sessions/s/api/offer", json=OFFER)
        assert (answer.status_code, answer.json()) == CONNECTED

    async def test_offer_of_a_session_that_moves_is_held(
        self, site: Site, stand_in: StandIn
    ) -> None:
        """A runner that is about to lose the session says so; the next one gets the offer."""
        stand_in.answers["/offer"] = (
            409,
            {"code": "conflict", "detail": "starting", "status": 409},
        )
        await site.started("s")
        held = asyncio.create_task(site.http.post("/sessions/s/api/offer", json=OFFER))
        await until(lambda: offers(stand_in))
        stand_in.answers["/offer"] = (200, ANSWER)
        assert (await held).status_code == 200

    async def test_offer_whose_runner_has_died_goes_to_the_next_bot(
        self, site: Site, stand_in: StandIn
    ) -> None:
        """The edge reports the death at once, and holds the offer: its session goes on elsewhere."""
        await site.start({"sessionId": "s"})
        await site.run("s", DEAD)
        async with asyncio.timeout(10), site.store.reader.suspicions() as suspicions:
            held = asyncio.create_task(site.http.post("/sessions/s/api/offer", json=OFFER))
            assert (await anext(suspicions)).session_id == "s"
        assert (await site.store.placement.recover("s", 1, "confirmed")).outcome == "queued"
        await site.run("s")
        assert (await held).json() == ANSWER
        assert offers(stand_in) == [("POST", OFFER)]

    async def test_offer_to_a_runner_that_nobody_can_reach_is_502_after_a_while(
        self, site: Site
    ) -> None:
        """Not a 4xx: the client tries again."""
        await site.start({"sessionId": "s"})
        await site.run("s", DEAD)
        answer = await site.http.post("/sessions/s/api/offer", json=OFFER)
        assert (answer.status_code, answer.json()["code"]) == (502, "runner_unreachable")

    @pytest.mark.timeout(10)
    async def test_held_offer_ends_when_the_edge_stops(self, patient_site: Site) -> None:
        """503 at once: another edge, or the next one, answers the client's retry."""
        site = patient_site
        await site.http.post("/start", json=ROOM, headers=CONTROL)
        held = asyncio.create_task(site.http.post("/sessions/s/api/offer", json=OFFER))
        await asyncio.sleep(0.1)
        await site.stop()
        answer = await held
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
        # A start is answered at once, and an event stream ends: neither delays the stop.
        assert (await site.start({"sessionId": "t"})).json() == {"sessionId": "t"}
        events = await site.http.get("/sessions/t/events")
        assert "ended" not in events.text


class TestBareOffers:
    async def test_offer_starts_a_session(self, site: Site, stand_in: StandIn) -> None:
        """The id of the peer connection names the session in what follows."""
        running = asyncio.create_task(site.run("s@1"))
        answer = await site.http.post("/api/offer?session_id=s@1", json=OFFER)
        await running
        assert answer.json() == {**ANSWER, "pc_id": "peer-1@s@1"}
        assert answer.headers["X-Session-Id"] == "s@1"
        candidates = {"pc_id": "peer-1@s@1", "candidates": []}
        sent = await site.http.patch("/api/offer", json=candidates)
        assert (sent.status_code, sent.json()) == (200, {"status": "success"})
        assert offers(stand_in)[-1] == ("PATCH", {"pc_id": "peer-1", "candidates": []})
        again = await site.http.post("/api/offer", json={**OFFER, "pc_id": "peer-1@s@1"})
        assert again.json()["pc_id"] == "peer-1@s@1"
        assert offers(stand_in)[-1] == ("POST", {**OFFER, "pc_id": "peer-1"})

    async def test_garbage_starts_nothing(self, site: Site) -> None:
        """No session, no bot."""
        for body in ({}, {"sdp": "x", "type": "offer"}, {"sdp": 5, "type": "offer"},
                     {"sdp": "v=0", "type": "answer"}):  # fmt: skip
            assert (await site.http.post("/api/offer", json=body)).status_code == 422
        for pc_id in ("peer-1", "@", "peer-1@none", "", 5):
            answer = await site.http.patch("/api/offer", json={"pc_id": pc_id, "candidates": []})
            assert answer.status_code == 404
        sessions, _ = await site.store.sessions()
        assert sessions == []

    async def test_session_of_a_refused_offer_ends(self, site: Site, stand_in: StandIn) -> None:
        """Else the bot would wait a minute for nobody; a session of before goes on."""
        stand_in.answers["/offer"] = (422, {"code": "invalid", "detail": "no media", "status": 422})
        stand_in.answers["/leave"] = (200, {})
        running = asyncio.create_task(site.run("s"))
        asking = asyncio.create_task(site.http.post("/api/offer?session_id=s", json=OFFER))
        await running
        await until(lambda: any(path.endswith("/leave") for _, path, _, _ in stand_in.asked))
        await site.end("s")
        assert (await asking).status_code == 422
        await site.started("before")
        answer = await site.http.post("/api/offer?session_id=before", json=OFFER)
        assert answer.status_code == 422
        assert (await site.store.session("before")).state == "running"

    async def test_key_is_for_its_bots_peers(self, store: RedisStore, stand_in: StandIn) -> None:
        """The id of a peer connection gives no access to a session of another bot."""
        async with open_site(store, stand_in, public_keys=KEYS) as site:
            candidates = {"pc_id": "peer-1@none", "candidates": []}
            assert (await site.http.patch("/api/offer", json=candidates)).status_code == 401
            answer = await site.http.patch("/api/offer", json=candidates, headers=AS_CLIENT)
            assert answer.status_code == 404


async def test_events_and_leave(site: Site, stand_in: StandIn) -> None:
    """A client follows its session, and ends it."""
    await site.started("s")
    await site.end("s")
    answer = await site.http.get("/sessions/s/events")
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    states = [json.loads(line[5:]) for line in answer.text.splitlines() if line.startswith("data:")]
    assert [state["status"] for state in states] == ["ended"]
    await site.start({"sessionId": "t"})
    left = await site.http.post("/v1/public/default/sessions/t/leave")
    assert left.json() == {"sessionId": "t", "status": "cancelled"}
    assert (await site.http.post("/sessions/none/leave")).status_code == 404


async def test_client_that_reconnects_gets_new_ice_credentials(
    monkeypatch: pytest.MonkeyPatch, store: RedisStore, stand_in: StandIn
) -> None:
    """As long as its session lives, and for sessions of its key's bot only."""
    monkeypatch.setenv(TURN_SECRET, "secret-of-the-turn-server")
    servers = parse_ice_servers(["turn:turn.example.com"])
    async with open_site(store, stand_in, public_keys=KEYS, ice_servers=servers) as site:
        await site.started("s", headers=AS_CLIENT)
        answer = await site.http.get("/sessions/s/ice", headers=AS_CLIENT)
        [server] = answer.json()["iceServers"]
        assert server["username"].endswith(":s")
        assert answer.headers["Cache-Control"] == "no-store"
        of_other = await site.http.get("/sessions/s/ice", headers=AS_SUPPORT)
        assert of_other.status_code == 404
        await site.end("s")
        assert (await site.http.get("/sessions/s/ice", headers=AS_CLIENT)).status_code == 409
