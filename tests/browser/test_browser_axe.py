"""axe-core on the pages around the login, and on the call page in each state, in real Chromium."""

import re
from pathlib import Path

import pytest
from playwright.async_api import Page, Route

from browser.axe_support import check_looks
from browser.browser_support import Room, chromium, enter
from cordboard.environment import OIDC_SECRET, SESSION_SECRET
from cordboard.interface.rendering import STATIC
from cordboard.settings import Settings
from interface.interface_support import open_site
from interface.oidc_support import CLIENT_SECRET, open_oidc_site, open_provider
from up_support import Up

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(180),
]
LABELS = dict(re.findall(r'^  (\w+): "(.+)",$', (STATIC / "room.js").read_text(), re.MULTILINE))
SHOW_STATE = """([state, label]) => {
  document.getElementById("room").dataset.state = state;
  document.getElementById("state").textContent = label;
}"""
SHOW_ALERT = """async (alert) => {
  const { showAlert } = await import("/static/alert_box.js");
  showAlert({ ...alert, button: alert.label ? { ...alert, run() {} } : null });
}"""


async def test_login_by_name_has_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither empty nor with a refused name."""
    monkeypatch.setenv(SESSION_SECRET, "signs-the-cookies")
    async with open_site(None, Settings()) as site, chromium() as browser:
        page = await browser.new_page()
        await page.goto(f"{site.url}/login")
        await check_looks(page, "login")
        await page.fill("#name", " . ")
        await page.evaluate("document.querySelector('#name').value = '\\u200b'")
        await page.click("main button")
        await page.wait_for_selector("#name-error")
        await check_looks(page, "login with an error")


async def without_refresh(route: Route) -> None:
    """Keep a page from leading on by itself."""
    answer = await route.fetch()
    text = re.sub('<meta http-equiv="refresh"[^>]*>', "", await answer.text())
    await route.fulfill(response=answer, body=text)


@pytest.mark.parametrize("leads_on", [True, False])
async def test_pages_around_the_provider_have_no_fault(
    monkeypatch: pytest.MonkeyPatch, leads_on: bool
) -> None:
    """The page before the sign-in and the one after the sign-out, with and without a sign-out there."""
    monkeypatch.setenv(SESSION_SECRET, "signs-the-cookies")
    monkeypatch.setenv(OIDC_SECRET, CLIENT_SECRET)
    async with open_provider() as provider, chromium() as browser:
        if not leads_on:
            provider.metadata = {"end_session_endpoint": None}
        async with open_oidc_site(provider) as site:
            page = await browser.new_page()
            await page.goto(f"{site.url}/rooms/demo")
            assert await page.inner_text("h1") == "Sign in"
            await check_looks(page, "sign in")
            await page.click("main >> text=Sign in >> nth=-1")
            await page.wait_for_url("**/rooms/demo")
            await page.route("**/logout", without_refresh)
            await page.click("text=Sign out")
            await page.wait_for_selector("h1:has-text('You are signed out.')")
            assert await page.locator("a.button:has-text('Sign out there')").count() == int(
                leads_on
            )
            await check_looks(page, "signed out")
            await page.goto(f"{site.url}/login/callback?state=unknown&code=x")
            await check_looks(page, "failed sign-in")


async def show(page: Page, state: str) -> None:
    """Show a state of the call as the page does."""
    await page.evaluate(SHOW_STATE, [state, LABELS[state]])
    await check_looks(page, state)


async def test_call_has_no_fault_in_any_state(up: Up, microphone: Path) -> None:
    """In a real call: connected, interrupted and lost, with the notes that belong to them."""
    async with chromium(microphone) as browser:
        room: Room = await enter(browser, up.addresses["interface"])
        await check_looks(room.page, "idle")
        await room.call()
        await room.page.wait_for_selector("#room[data-state=connected]")
        await check_looks(room.page, "connected")
        await room.page.click("#mute")
        await check_looks(room.page, "muted")
        for state in (
            "microphone",
            "joining",
            "waiting",
            "connecting",
            "interrupted",
            "lost",
            "leaving",
        ):
            await show(room.page, state)
        note = {"title": "You are not heard.", "advice": "Unmute the microphone.", "tone": "info"}
        await room.page.evaluate(SHOW_ALERT, note)
        await show(room.page, "interrupted")
        await room.leave()
        await check_looks(room.page, "call ended")


async def test_alert_and_countdown_have_no_fault(up: Up, microphone: Path) -> None:
    """A join that was refused, with and without a button, and the time until the next attempt."""
    async with chromium(microphone) as browser:
        room = await enter(browser, up.addresses["interface"])
        full = {"code": "queue_full", "detail": "Full."}
        await room.page.route(
            "**/api/sessions",
            lambda route: route.fulfill(status=429, json=full, headers={"Retry-After": "600"}),
        )
        await room.join()
        assert "All bots are busy." in await room.alert()
        assert await room.page.is_disabled("#alert-button")
        assert "in " in await room.text("alert-button")
        await check_looks(room.page, "countdown")
        for tone in ("bad", "info"):
            alert = {"title": "Something happened.", "advice": "Do this.", "tone": tone}
            await room.page.evaluate(SHOW_ALERT, alert)
            await check_looks(room.page, f"alert, {tone}")
            await room.page.evaluate(SHOW_ALERT, {**alert, "label": "Try again", "waitS": 0})
            await check_looks(room.page, f"alert with a button, {tone}")
