"""The interface sends people to the interface of the cell that has their room."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cordboard.contract.cells import Cell, cell_of
from cordboard.contract.launch import Launch
from cordboard.environment import CONTROL_SECRET, SESSION_SECRET
from cordboard.gateway.app import create_app as create_gateway
from cordboard.settings import Settings
from cordboard.store import RedisStore
from interface.interface_support import SECRET, Site, an_id, open_site
from interface.pages_support import BOSS, opened
from tests_support import served

CELLS = {
    "eu-1": Cell("https://gw.eu-1.example", "https://eu-1.example/voice"),
    "us-1": Cell("https://gw.us-1.example"),
    "us-2": Cell("https://gw.us-2.example", "https://us-2.example"),
}
ROOMS = [f"room-{number}" for number in range(60)]


@pytest.mark.parametrize(
    ("cell", "status", "address"),
    [("eu-1", 200, None), ("us-1", 200, None), ("us-2", 307, "https://us-2.example/rooms/")],
)
async def test_page_of_a_room_is_served_by_its_cell(
    monkeypatch: pytest.MonkeyPatch, cell: str, status: int, address: str | None
) -> None:
    """A room of another cell is a redirect; where nobody knows that cell's interface, the page is served."""
    monkeypatch.setenv(SESSION_SECRET, "signs-the-cookies")
    room = next(name for name in ROOMS if cell_of(f"webrtc:{name}", CELLS) == cell)
    async with open_site(None, Settings(cell="eu-1", cells=CELLS)) as site:
        browser = await site.browser().sign_in()
        got, _, headers = await browser.ask("GET", f"/rooms/{room}")
    assert (got, headers.get("Location")) == (status, address and f"{address}{room}")


@pytest.fixture
async def eu(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    """The interface of a cell, with the cell's gateway."""
    monkeypatch.setenv(CONTROL_SECRET, SECRET)
    monkeypatch.setenv(SESSION_SECRET, "signs-the-cookies")
    cell: dict[str, Any] = {"cell": "eu-1", "cells": CELLS}
    async with (
        served(create_gateway(Settings(**cell), store)) as gateway,
        open_site(
            store, Settings(gateway_url=gateway, interface_operators=(BOSS,), **cell)
        ) as here,
    ):
        yield here


def room_of(cell: str) -> str:
    return next(name for name in ROOMS if cell_of(f"webrtc:{name}", CELLS) == cell)


async def place(site: Site, room: str) -> None:
    """Join a room of another cell here, as the edge of this cell does."""
    launch = Launch(session_id=an_id("placed"), room_url=f"webrtc:{room}", epoch=0)
    await site.store.accept(launch, queue_max=5)


async def test_links_of_the_rooms_page_lead_to_rooms_of_this_cell(eu: Site) -> None:
    """A room that a caller has placed here stays here, whatever cell its name says, for as long as it lives."""
    boss = await eu.browser().sign_in(BOSS)
    room = room_of("us-2")
    away = (await boss.ask("GET", f"/rooms/{room}"))[0]
    await place(eu, room)
    page = await opened(boss, "/rooms")
    assert f"/rooms/{room}" in page.links
    assert (await boss.ask("GET", f"/rooms/{room}"))[0] == 200
    await eu.store.leave(session_id=an_id("placed"))
    assert (await boss.ask("GET", f"/rooms/{room}"))[0] == away == 307


async def test_join_of_a_placed_room_finds_its_session(eu: Site) -> None:
    """It makes no second session in the cell of the name; a room that nobody has placed here is refused."""
    ada = await eu.browser().sign_in("Ada")
    room = room_of("us-2")
    assert (await ada.join("early", f"webrtc:{room}"))[0] == 421
    await place(eu, room)
    status, joined, _ = await ada.join("late", f"webrtc:{room}")
    assert (status, joined["reused"], joined["yours"]) == (200, True, False)


async def test_name_decides_while_the_gateway_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The page of the other cell may work."""
    monkeypatch.setenv(SESSION_SECRET, "signs-the-cookies")
    settings = Settings(cell="eu-1", cells=CELLS, gateway_url="http://127.0.0.1:9")
    async with open_site(None, settings) as site:
        browser = await site.browser().sign_in()
        assert (await browser.ask("GET", f"/rooms/{room_of('us-2')}"))[0] == 307
