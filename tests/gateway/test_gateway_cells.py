"""A gateway refuses rooms of other cells, and names the right gateway."""

from collections.abc import AsyncIterator

import pytest

from cordboard.contract.cells import Cell, cell_of
from cordboard.environment import CONTROL_SECRET
from cordboard.gateway.app import create_app
from cordboard.settings import Settings
from cordboard.store import RedisStore
from gateway.test_gateway_http import SECRET, Gateway, serving

CELLS = {"eu-1": Cell("https://eu-1.example"), "us-1": Cell("https://us-1.example")}
ROOMS = [f"webrtc:room-{number}" for number in range(20)]
HERE = next(room for room in ROOMS if cell_of(room, CELLS) == "eu-1")
ELSEWHERE = next(room for room in ROOMS if cell_of(room, CELLS) == "us-1")


@pytest.fixture
async def gateway(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateway]:
    monkeypatch.setenv(CONTROL_SECRET, SECRET)
    app = create_app(Settings(cell="eu-1", cells=CELLS), store)
    async with serving(app, store) as running:
        yield running


async def test_join_of_a_room_of_this_cell_is_accepted(gateway: Gateway) -> None:
    """The answers about the session name the cell."""
    status, _, _ = await gateway.join(room_url=HERE, sessionId="a")
    assert status == 202
    _, session, _ = await gateway.ask("GET", "/sessions/a")
    _, listed, _ = await gateway.ask("GET", "/sessions")
    assert session["cell"] == listed["sessions"][0]["cell"] == "eu-1"


async def test_join_of_a_room_of_another_cell_is_refused(gateway: Gateway) -> None:
    """421 with the cell and the URL of its gateways; no session exists."""
    status, body, _ = await gateway.join(room_url=ELSEWHERE, sessionId="a")
    assert (status, body["code"], body["cell"]) == (421, "wrong_cell", "us-1")
    assert body["gateway"] == "https://us-1.example"
    assert body["sessionId"] == "a"
    assert (await gateway.ask("GET", "/sessions/a"))[0] == 404


async def test_caller_may_place_a_room(gateway: Gateway) -> None:
    """``?cell=`` wins over the hash of the room's name; a cell that nobody knows has no gateway."""
    body = {"room_url": ELSEWHERE, "sessionId": "a"}
    assert (await gateway.ask("POST", "/join?cell=eu-1", body))[0] == 202
    assert (await gateway.ask("POST", "/join?cell=us-1", body))[0] == 421
    status, refusal, _ = await gateway.ask("POST", "/join?cell=mars", body)
    assert (status, refusal["cell"], "gateway" in refusal) == (421, "mars", False)


async def test_leave_of_a_room_of_another_cell_is_refused(gateway: Gateway) -> None:
    """A forced leave must not answer ``absent`` for a room whose bot lives elsewhere."""
    leave = {"room_url": ELSEWHERE, "force": True}
    assert (await gateway.ask("POST", "/leave", leave))[0] == 421
    assert (await gateway.ask("POST", "/leave?cell=eu-1", leave))[1]["status"] == "absent"
