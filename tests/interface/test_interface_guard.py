"""What browsers are told to keep to, and which requests are let in."""

import re

import pytest

from cordboard.settings import Settings
from interface.interface_support import SECRET, Site, open_site

JOIN = {"sessionId": "s", "room": "webrtc:demo"}


async def test_every_answer_keeps_the_page_to_itself(site: Site) -> None:
    """Pages, files, errors and refusals alike carry the security headers."""
    browser = site.browser()
    for path in ("/login", "/static/room.js", "/nothing", "/api/sessions/x", "/healthz"):
        _, _, headers = await browser.ask("GET", path)
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["Permissions-Policy"].startswith("microphone=(self)")


async def test_no_page_has_code_in_it(site: Site) -> None:
    """The policy would refuse it: no inline script, no handler, no style in a page."""
    browser = await site.browser().sign_in()
    for path in ("/login", "/rooms/demo", "/nothing"):
        _, text, _ = await browser.ask("GET", path, headers={"Accept": "text/html"})
        assert not re.search(r"\son\w+\s*=", text)
        assert "<style" not in text
        assert ' style="' not in text
        assert "http://" not in text
        assert "https://" not in text
        assert text.count("<script") == text.count('<script type="module" src="/static/')


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 202),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, 202),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
    ],
)
async def test_only_our_own_pages_change_anything(
    site: Site, headers: dict[str, str], status: int
) -> None:
    """A signed-in browser is no licence for other sites' pages (CSRF)."""
    browser = await site.browser().sign_in()
    got, body, _ = await browser.ask("POST", "/api/sessions", json=JOIN, headers=headers)
    assert got == status
    if status == 403:
        assert body["code"] == "foreign_request"
        assert (await site.store.sessions())[0] == []


async def test_login_and_logout_are_guarded_too(site: Site) -> None:
    """Another site may neither sign a person in nor out."""
    browser = await site.browser().sign_in()
    evil = {"Origin": "https://evil.example"}
    for path in ("/login", "/logout"):
        status, _, headers = await browser.ask("POST", path, data={"name": "Eve"}, headers=evil)
        assert (status, "Set-Cookie" in headers) == (403, False)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:3000", 200),
        ("127.0.0.1", 200),
        ("[::1]:3000", 200),
        ("demo.localhost", 200),
        ("phone.example", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
    ],
)
async def test_on_loopback_only_names_of_this_machine(host: str, status: int) -> None:
    """A foreign name that resolves to this machine (DNS rebinding) is refused, with the way out."""
    async with open_site(None, Settings(interface_hosts=("phone.example",))) as site:
        got, text, _ = await site.browser().ask("GET", "/login", headers={"Host": host})
        assert got == status
        if status == 421:
            assert "CORDBOARD_INTERFACE_HOSTS" in text["hint"]
        assert (await site.browser().ask("GET", "/healthz", headers={"Host": host}))[0] == 200


async def test_metrics_are_not_for_everybody(site: Site) -> None:
    """Health is open, metrics need the control secret."""
    browser = site.browser()
    assert (await browser.ask("GET", "/healthz"))[0] == 200
    assert (await browser.ask("GET", "/readyz"))[0] == 200
    assert (await browser.ask("GET", "/metrics"))[0] == 401
    headers = {"Authorization": f"Bearer {SECRET}"}
    assert (await browser.ask("GET", "/metrics", headers=headers))[0] == 200
