"""axe-core in a page, and the sizes and colours in which pages are shown to it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, ViewportSize

AXE = Path(__file__).parents[1] / "clients" / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
DESKTOP: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 844}


def axe() -> str:
    """Return the source of axe-core; skip the test without it."""
    if not AXE.exists():
        pytest.skip("no axe-core: scripts/clients.sh installs it")
    return AXE.read_text()


async def findings(page: Page) -> list[str]:
    """Return what axe-core finds on a page, each with its elements."""
    await page.evaluate(f"() => {{ {axe()} }}")
    found = await page.evaluate("(rules) => axe.run(document, { runOnly: rules })", RULES)
    return [
        f"{item['id']}: {[node['html'][:200] for node in item['nodes'][:3]]}"
        for item in found["violations"]
    ]


async def looks(page: Page) -> AsyncIterator[str]:
    """Show a page on a phone and a desktop, in light and dark; yield each look."""
    for size in (PHONE, DESKTOP):
        await page.set_viewport_size(size)
        await page.emulate_media(color_scheme="light")
        yield f"{size['width']} light"
        await page.emulate_media(color_scheme="dark")
        yield f"{size['width']} dark"


async def check_looks(page: Page, name: str) -> None:
    """Check that axe-core finds nothing and that nothing has to be scrolled sideways, in each look."""
    async for look in looks(page):
        assert await findings(page) == [], f"{name}, {look}"
        over = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert over <= 0, f"{name}, {look}"
