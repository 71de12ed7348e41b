"""The interface sends people to the interface of the cell that has their room."""

import pytest

from cordboard.contract.cells import Cell, cell_of
from cordboard.environment import SESSION_SECRET
from cordboard.settings import Settings
from interface.interface_support import open_site

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
