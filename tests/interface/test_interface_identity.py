"""Identity from an authenticating proxy, and claims of requests that do not count."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from cordboard import emit
from cordboard.contract.errors import SettingsError
from cordboard.environment import LOGIN_SECRET
from cordboard.interface.app import create_app
from cordboard.interface.identity import PROXY_CREDENTIAL_HEADER, HeaderIdentity
from cordboard.interface.people import Roles
from cordboard.settings import Settings
from cordboard.web.proxies import FROM_TRUSTED_PROXY
from interface.interface_support import Site, an_id, open_site

SECRET = "s3cret-of-the-proxy"
ADA = {"X-Forwarded-User": "ada@example.org"}


@pytest.fixture
async def proxied() -> AsyncIterator[Site]:
    """An interface that trusts its proxy, which is on loopback."""
    settings = Settings(interface_login="header", trusted_proxies=("127.0.0.1",))
    async with open_site(None, settings) as site:
        yield site


async def test_identity_comes_from_the_header_of_the_proxy(proxied: Site) -> None:
    """The same name is the same user at each replica; the page has no sign-out."""
    found = []
    for _ in range(2):
        status, text, headers = await proxied.browser().ask("GET", "/rooms/demo", headers=ADA)
        assert (status, "Set-Cookie" in headers, "Sign out" in text) == (200, False, False)
        assert "ada@example.org" in text
        found.append(text.partition('data-user-id="')[2].partition('"')[0])
    assert found[0] == found[1]
    assert len(found[0]) == 34


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Forwarded-User": ""},
        {"X-Forwarded-User": "\u202eada"},
        {"X-User-Name": "ada"},
        {"Cookie": "cordboard_login=x"},
    ],
)
async def test_request_without_a_valid_name_is_not_signed_in(
    proxied: Site, headers: dict[str, str]
) -> None:
    """The error page sends the person back to the proxy."""
    browser = proxied.browser()
    assert (await browser.ask("GET", "/rooms/demo", headers=headers))[0] == 303
    status, text, _ = await browser.ask("GET", "/login", headers=headers | {"Accept": "text/html"})
    assert (status, '<a class="button"' in text) == (401, True)
    assert (await browser.ask("POST", "/login", data={"name": "Ada"}))[0] == 401


async def test_two_names_in_one_request_do_not_count(proxied: Site) -> None:
    """A proxy that appends the header instead of replacing it would let the client choose a name."""
    async with proxied.browser().client.get(
        f"{proxied.url}/rooms/demo",
        headers=[("X-Forwarded-User", "root"), ("X-Forwarded-User", "ada")],
        allow_redirects=False,
    ) as answer:
        assert answer.status == 303


async def test_header_of_an_untrusted_sender_is_ignored_and_logged() -> None:
    """The warning has the sender's address."""
    settings = Settings(interface_login="header", trusted_proxies=("10.0.0.0/8",))
    async with open_site(None, settings) as site:
        with emit.capture() as records:
            assert (await site.browser().ask("GET", "/rooms/demo", headers=ADA))[0] == 303
    (refused,) = [r for r in records if r.get("event") == "auth.refused"]
    assert (refused["level"], refused["meta"]["peer"]) == ("warn", "127.0.0.1")


async def test_header_needs_the_shared_secret_if_one_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The address of the proxy alone is then not enough."""
    monkeypatch.setenv(LOGIN_SECRET, SECRET)
    settings = Settings(interface_login="header", trusted_proxies=("127.0.0.1",))
    async with open_site(None, settings) as site:
        for given, status in (
            ({}, 303),
            ({PROXY_CREDENTIAL_HEADER: ""}, 303),
            ({PROXY_CREDENTIAL_HEADER: "wrong"}, 303),
            ({PROXY_CREDENTIAL_HEADER: SECRET}, 200),
        ):
            got, _, _ = await site.browser().ask("GET", "/rooms/demo", headers=ADA | given)
            assert got == status


@pytest.mark.parametrize(
    ("settings", "secret", "words"),
    [
        (Settings(interface_login="header"), None, "CORDBOARD_TRUSTED_PROXIES"),
        (Settings(interface_login="header"), "short", "16 or more"),
        (Settings(interface_login="everybody"), None, "expected name, oidc or header"),
    ],
)
def test_invalid_login_settings_are_a_settings_error(
    settings: Settings, secret: str | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is reported at the start, and says what to do."""
    if secret:
        monkeypatch.setenv(LOGIN_SECRET, secret)
    with pytest.raises(SettingsError, match=words):
        create_app(settings)


PROXIES = Settings(
    interface_login="header",
    trusted_proxies=("127.0.0.1",),
    interface_login_header="X-Auth-Request-Email",
    interface_login_name_header="X-Auth-Request-User",
    interface_login_groups_header="X-Auth-Request-Groups",
    interface_operators=("boss@example.org",),
    interface_operator_groups=("voice-ops",),
)


@pytest.mark.parametrize(
    ("headers", "name", "role"),
    [
        ([("Email", "ada@example.org")], "ada@example.org", "caller"),
        ([("Email", "ada@example.org"), ("User", "Ada")], "Ada", "caller"),
        ([("Email", "ada@example.org"), ("User", "Za\u017c")], "Za\u017c", "caller"),
        ([("Email", "ada@example.org"), ("User", "a"), ("User", "b")], "ada@example.org", "caller"),
        ([("Email", "boss@example.org"), ("User", "Ada")], "Ada", "operator"),
        ([("Email", "ada@example.org"), ("User", "boss@example.org")], "boss@example.org", "caller"),
        ([("Email", "ada@example.org"), ("Groups", "x, voice-ops")], "ada@example.org", "operator"),
        ([("Email", "ada@example.org"), ("Groups", "x"), ("Groups", "voice-ops")], "ada@example.org", "caller"),
    ],
)  # fmt: skip
def test_name_and_role_come_from_the_headers_of_the_settings(
    headers: list[tuple[str, str]], name: str, role: str
) -> None:
    """A header that comes twice does not count: one of them may be the client's."""
    scope = {
        "type": "http",
        "headers": [(f"x-auth-request-{key.lower()}".encode(), value.encode()) for key, value in headers],
        FROM_TRUSTED_PROXY: True,
    }  # fmt: skip
    person = HeaderIdentity(PROXIES, Roles(PROXIES)).person(scope)
    assert person is not None
    assert (person.name, person.role) == (name, role)
    scope[FROM_TRUSTED_PROXY] = False
    assert HeaderIdentity(PROXIES, Roles(PROXIES)).person(scope) is None


async def served(site: Site, browser: Any, headers: dict[str, str]) -> dict[str, Any]:
    """Return the access line of a request for a room."""
    with emit.capture() as records:
        await browser.ask("GET", "/rooms/demo", headers=headers)
    (access,) = [r for r in records if r.get("meta", {}).get("path") == "/rooms/demo"]
    return access


async def test_session_header_of_another_person_is_a_claim(site: Site) -> None:
    """A header with another's session id writes no line into that session."""
    ada, eve = await site.browser().sign_in("Ada"), await site.browser().sign_in("Eve")
    await ada.join("s")
    claim = {"X-Session-Id": an_id("s"), "traceparent": f"00-{'1' * 32}-{'2' * 16}-01"}
    assert (await served(site, ada, claim))["sessionId"] == an_id("s")
    for stranger in (eve, site.browser()):
        access = await served(site, stranger, claim)
        assert access["sessionId"].startswith("server:")
        assert access["meta"]["claimed_session"] == an_id("s")
        assert "traceId" not in access
    assert access["meta"]["peer"] == "127.0.0.1"


async def test_session_header_of_a_websocket_is_a_claim(site: Site) -> None:
    """The interface has no WebSocket; its refusal writes an access line."""
    await (await site.browser().sign_in("Ada")).join("s")
    claims = {"X-Session-Id": an_id("s"), "X-User-Id": "u-boss", "X-User-Name": "Boss"}
    with emit.capture() as records, pytest.raises(aiohttp.WSServerHandshakeError):
        await site.browser().client.ws_connect(f"{site.url}/rooms/demo", headers=claims)
    (access,) = [r for r in records if r.get("meta", {}).get("path") == "/rooms/demo"]
    assert access["sessionId"].startswith("server:")
    assert (access["userId"], access["meta"]["claimed_session"]) == (None, an_id("s"))


async def test_refused_requests_write_no_line_into_the_session(site: Site) -> None:
    """Neither a read, an offer, a leave nor a join with another's id does."""
    ada, eve = await site.browser().sign_in("Ada"), await site.browser().sign_in("Eve")
    await ada.join("s")
    path = f"/api/sessions/{an_id('s')}"
    with emit.capture() as records:
        await eve.ask("GET", path)
        await eve.ask("GET", f"{path}/events")
        await eve.ask("POST", f"{path}/leave")
        await eve.ask("POST", f"{path}/offer", json={})
        await eve.join("s")
        await eve.join("s", "webrtc:elsewhere")
        await eve.ask("GET", path, headers={"X-Session-Id": an_id("s")})
    interfaces = [r for r in records if r["tag"] in {"interface", "http"}]
    ours = [r for r in interfaces if "/api/" in str(r.get("meta")) or r["tag"] == "interface"]
    assert ours
    assert not [r for r in ours if r["sessionId"] == an_id("s")]
