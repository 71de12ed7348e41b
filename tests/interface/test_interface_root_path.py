"""The interface below a path prefix, behind proxies that remove the prefix and proxies that keep it."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cordboard.contract.errors import SettingsError
from cordboard.environment import SESSION_SECRET
from cordboard.interface.app import create_app
from cordboard.settings import Settings, load
from interface.interface_support import Site, open_site
from interface.test_interface_command import start

HTML = {"Accept": "text/html"}
LINK = re.compile(r'(?:href|src|action)="([^"]*)"')


@pytest.fixture
async def prefixed(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    """An interface with the prefix /voice, without a gateway."""
    monkeypatch.setenv(SESSION_SECRET, "signs-the-cookies")
    async with open_site(None, Settings(root_path="/voice")) as site:
        yield site


@pytest.mark.parametrize("kept", ["", "/voice"], ids=["removed", "kept"])
async def test_every_redirect_and_link_has_the_prefix(prefixed: Site, kept: str) -> None:
    """Home, sign-in, the room, errors, sign-out; files and the API are found below it."""
    client = prefixed.browser().client
    base, origin = f"{prefixed.url}{kept}", {"Origin": prefixed.url, **HTML}

    async def ask(method: str, path: str) -> tuple[int, str, str]:
        async with client.request(
            method, base + path, headers=origin, allow_redirects=False
        ) as answer:
            return answer.status, answer.headers.get("Location", ""), await answer.text()

    assert (await ask("GET", "/"))[:2] == (303, "/voice/rooms/demo")
    assert (await ask("GET", "/rooms/a@b"))[:2] == (303, "/voice/login?next=%2Frooms%2Fa%40b")
    pages = [(await ask("GET", "/login"))[2]]
    # The cookie is sent below the prefix only, so this client has to keep it by hand.
    async with client.post(
        f"{base}/login", data={"name": "Ada"}, headers=origin, allow_redirects=False
    ) as answer:
        assert answer.headers["Location"] == "/voice/"
        cookie = answer.cookies["cordboard_login"]
    assert cookie["path"] == "/voice"
    origin["Cookie"] = f"{cookie.key}={cookie.value}"
    assert (await ask("GET", "/login"))[:2] == (303, "/voice/")
    pages.append((await ask("GET", "/rooms/demo"))[2])
    status, _, missing = await ask("GET", "/nowhere")
    assert status == 404
    pages.append(missing)
    links = {link for page in pages for link in LINK.findall(page)}
    assert {"/voice/", "/voice/login", "/voice/logout", "/voice/static/room.js"} <= links
    assert [link for link in links if not link.startswith("/voice/")] == []
    assert all('data-root-path="/voice"' in page for page in pages)
    assert (await ask("GET", "/static/room.js"))[0] == 200
    assert (await ask("GET", "/healthz"))[0] == 200
    async with client.post(f"{base}/logout", headers=origin, allow_redirects=False) as answer:
        assert answer.headers["Location"] == "/voice/login"
        assert "Path=/voice" in answer.headers["Set-Cookie"]


async def test_cookie_over_tls_keeps_the_path_that_its_name_requires(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Browsers refuse a cookie __Host-... with another path than /."""
    monkeypatch.setenv(SESSION_SECRET, "signs-the-cookies")
    settings = Settings(root_path="/voice", interface_url="https://127.0.0.1")
    async with open_site(None, settings) as site:
        headers = {"Sec-Fetch-Site": "same-origin"}
        browser = site.browser()
        _, _, found = await browser.ask("POST", "/voice/login", data={"name": "A"}, headers=headers)
    assert found["Set-Cookie"].startswith("__Host-cordboard_login=")
    assert "; Path=/;" in found["Set-Cookie"]


async def test_no_header_sets_a_prefix(site: Site) -> None:
    """Anybody could send it, and a cache could keep the page."""
    for name in ("X-Forwarded-Prefix", "X-Script-Name", "X-Forwarded-Path"):
        _, _, headers = await site.browser().ask("GET", "/", headers={name: "/evil"})
        assert headers["Location"] == "/rooms/demo"


async def test_pages_without_a_prefix_have_none(site: Site) -> None:
    """Their links and the root element are as before."""
    _, page, _ = await site.browser().ask("GET", "/login")
    assert "root-path" not in page
    assert 'href="/static/style.css"' in page


def test_prefix_of_an_own_path_is_refused() -> None:
    """/rooms/demo would be /demo below /rooms."""
    for path in ("/rooms", "/api/x", "/static", "/healthz"):
        with pytest.raises(SettingsError, match="root_path"):
            create_app(Settings(root_path=path))


def test_malformed_setting_is_refused(tmp_path: Path) -> None:
    """The message says where, and what is expected."""
    file = tmp_path / "cordboard.toml"
    file.write_text('root_path = "/voice/"')
    with pytest.raises(
        SettingsError, match=r"root_path: expected a path such as /voice, .*'/voice/'"
    ):
        load(file)
    file.write_text('root_path = "/voice"')
    assert load(file).root_path == "/voice"


async def test_malformed_option_is_refused() -> None:
    """The exit status is that of a wrong usage."""
    process = await start("--root-path", "https://a.example/voice")
    _, err = await process.communicate()
    assert process.returncode == 2
    assert "--root-path: expected a path such as /voice" in err.decode()
