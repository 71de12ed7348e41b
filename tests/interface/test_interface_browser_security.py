"""Security headers, and which requests of browsers are accepted."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from cordboard import emit
from cordboard.contract.errors import SettingsError
from cordboard.interface.app import create_app
from cordboard.settings import Settings
from interface.interface_support import SECRET, Site, an_id, open_site

JOIN = {"sessionId": an_id("s"), "room": "webrtc:demo"}


async def test_every_response_has_the_security_headers(site: Site) -> None:
    """Pages, files, errors and refusals have them."""
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


async def test_no_page_contains_inline_code(site: Site) -> None:
    """The policy would block it: scripts, event handlers and styles."""
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
async def test_only_requests_of_own_pages_change_anything(
    site: Site, headers: dict[str, str], status: int
) -> None:
    """A page of another site cannot use the login of a browser (CSRF)."""
    browser = await site.browser().sign_in()
    got, body, _ = await browser.ask("POST", "/api/sessions", json=JOIN, headers=headers)
    assert got == status
    if status == 403:
        assert body["code"] == "foreign_request"
        assert (await site.store.sessions())[0] == []


async def test_another_site_can_neither_sign_in_nor_sign_out(site: Site) -> None:
    """Its requests to these pages set no cookie."""
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
async def test_foreign_host_on_loopback_is_421(host: str, status: int) -> None:
    """A foreign name that resolves to this machine (DNS rebinding) is refused; the hint helps."""
    async with open_site(None, Settings(interface_hosts=("phone.example",))) as site:
        got, text, _ = await site.browser().ask("GET", "/login", headers={"Host": host})
        assert got == status
        if status == 421:
            assert "CORDBOARD_INTERFACE_HOSTS" in text["hint"]
        assert (await site.browser().ask("GET", "/healthz", headers={"Host": host}))[0] == 200


async def test_metrics_need_the_control_secret(site: Site) -> None:
    """The health checks do not."""
    browser = site.browser()
    assert (await browser.ask("GET", "/healthz"))[0] == 200
    assert (await browser.ask("GET", "/readyz"))[0] == 200
    assert (await browser.ask("GET", "/metrics"))[0] == 401
    headers = {"Authorization": f"Bearer {SECRET}"}
    assert (await browser.ask("GET", "/metrics", headers=headers))[0] == 200


PUBLIC = Settings(interface_url="https://voice.example", interface_hosts=("other.example",))


@asynccontextmanager
async def public_site(settings: Settings = PUBLIC) -> AsyncIterator[Site]:
    """An interface beyond loopback, behind a proxy that forwards the Host header."""
    async with open_site(None, settings, local=False) as site:
        yield site


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("voice.example", 200),
        ("VOICE.example:443", 200),
        ("voice.example:8443", 200),
        ("other.example", 200),
        ("evil.example", 421),
        ("127.0.0.1", 421),
        ("voice.example.evil.example", 421),
        ("evil.example/@voice.example", 421),
        ("", 421),
        ("[", 421),
        ("voice.example:x", 421),
    ],
)
async def test_foreign_host_of_a_public_interface_is_421(host: str, status: int) -> None:
    """If the public address is set; probes use the address of a pod."""
    async with public_site() as site:
        headers = {"Host": host}
        assert (await site.browser().ask("GET", "/login", headers=headers))[0] == status
        assert (await site.browser().ask("GET", "/healthz", headers=headers))[0] == 200


async def test_public_https_address_makes_cookies_secure() -> None:
    """``Secure``, ``__Host-`` and HSTS follow from it, whatever scheme the proxy reports."""
    async with public_site() as site:
        ours = {"Host": "voice.example", "Origin": "https://voice.example"}
        browser = site.browser()
        status, _, headers = await browser.ask("POST", "/login", data={"name": "A"}, headers=ours)
        assert status == 303
        cookie = headers["Set-Cookie"]
        assert cookie.startswith("__Host-cordboard_login=")
        assert "; Secure" in cookie
        assert headers["Strict-Transport-Security"] == "max-age=31536000"
        value = cookie.partition("=")[2].partition(";")[0]
        for name, room in (("__Host-cordboard_login", 200), ("cordboard_login", 303)):
            given = ours | {"Cookie": f"{name}={value}"}
            assert (await site.browser().ask("GET", "/rooms/demo", headers=given))[0] == room


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://voice.example", 303),
        ("https://voice.example:443", 303),
        ("http://voice.example", 403),
        ("https://voice.example:8443", 403),
        ("https://other.example", 403),
        ("http://[", 403),
        ("null", 403),
    ],
)
async def test_origin_must_be_the_public_address(origin: str, status: int) -> None:
    """With its scheme and port: a page without TLS may have been replaced."""
    async with public_site() as site:
        headers = {"Host": "voice.example", "Origin": origin}
        got, _, _ = await site.browser().ask("POST", "/login", data={"name": "A"}, headers=headers)
        assert got == status


@pytest.mark.parametrize("path", ["/rooms/demo/", "/login/", "//evil.example", "/rooms"])
async def test_redirects_contain_no_foreign_host(path: str) -> None:
    """Without a public address any host is served, but none is repeated."""
    async with public_site(Settings()) as site:
        headers = {"Host": "evil.example"}
        _, _, answered = await site.browser().ask("GET", path, headers=headers)
        assert "evil" not in answered.get("Location", "").removeprefix("//evil.example")
        assert answered.get("Location", "/").startswith("/")


@pytest.mark.parametrize(
    "url", ["voice.example", "ftp://voice.example", "https://voice.example/calls", "https://a@b"]
)
def test_invalid_public_address_is_a_settings_error(url: str) -> None:
    """It is reported at the start."""
    with pytest.raises(SettingsError, match="interface_url"):
        create_app(Settings(interface_url=url))


async def test_refusals_do_not_fill_the_log() -> None:
    """A page of another site can make a browser send requests without end."""
    async with public_site() as site:
        evil = {"Host": "voice.example", "Origin": "https://evil.example"}
        with emit.capture() as records:
            for _ in range(30):
                await site.browser().ask("POST", "/logout", headers=evil)
        told = [r for r in records if r["message"] == "A request from another site was refused"]
        assert 1 <= len(told) <= 21
