"""Make the pictures of docs/images: the pages of the interface during and after a call, in Chromium.

Each page is taken on a desktop in its light colours, and as NAME-phone.png on a phone in its dark ones.

A step of `make docs`. It starts everything with `cordboard up`, on ports and in a folder of its own.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from playwright.async_api import Page

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
sys.path.insert(0, str(ROOT / "tests"))

from browser.browser_support import chromium, open_room, spoken  # noqa: E402 - after the path
from up_support import ready, write_parrot  # noqa: E402 - after the path

DESKTOP = {"width": 1100, "height": 760}
PHONE = {"width": 390, "height": 844}
SESSION_HEIGHT = 1350  # down to the services
NAME = "Ada"


def main() -> None:
    """Make all pictures."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(make_pictures(Path(folder)))


async def make_pictures(folder: Path) -> None:
    """Call a bot, and take the picture of each page."""
    bot = ("--bot", write_parrot(folder), "--runners", "1")
    async with (
        ready(folder, *bot, CORDBOARD_INTERFACE_OPERATORS=NAME) as up,
        chromium(spoken(folder)) as browser,
    ):
        url = up.addresses["interface"]
        context = await browser.new_context(viewport=DESKTOP)  # type: ignore[arg-type]
        room = await open_room(context, f"{url}/rooms/demo", NAME)
        session_id = await room.call()
        await take(room.page, "room")
        page = await context.new_page()
        await page.goto(f"{url}/rooms")
        await take(page, "rooms")
        await page.goto(f"{url}/sessions/{session_id}")
        await page.wait_for_selector("#of-turns tbody tr", timeout=90_000)
        await room.leave()
        await page.wait_for_selector("#session[data-complete=yes]", timeout=90_000)
        await take(page, "session", SESSION_HEIGHT)
        for name in ("sessions", "health"):
            await page.goto(f"{url}/{name}")
            await take(page, name)


async def take(page: Page, name: str, height: int = DESKTOP["height"]) -> None:
    """Take both pictures of a page as it is."""
    await page.set_viewport_size({"width": DESKTOP["width"], "height": height})
    await page.screenshot(path=IMAGES / f"{name}.png")
    await page.emulate_media(color_scheme="dark")
    await page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    await page.screenshot(path=IMAGES / f"{name}-phone.png")
    await page.emulate_media(color_scheme="light")
    await page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
