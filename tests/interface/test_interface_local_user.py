"""On loopback, the user who runs the interface is an operator; nobody else becomes one by that."""

import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cordboard.environment import CONTROL_SECRET, SESSION_SECRET
from cordboard.gateway.app import create_app as create_gateway
from cordboard.interface import local_user
from cordboard.settings import Settings
from cordboard.store import RedisStore
from cordboard.up.start_plan import interface_variables
from interface.interface_support import SECRET, Site, open_site
from tests_support import served


@pytest.fixture
async def own(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    """An interface as `cordboard up` starts it."""
    monkeypatch.setenv(CONTROL_SECRET, SECRET)
    monkeypatch.setenv(SESSION_SECRET, "signs-the-cookies")
    async with served(create_gateway(Settings(), store)) as gateway:
        settings = Settings(gateway_url=gateway, interface_local_operator=True)
        async with open_site(store, settings) as here:
            yield here


async def test_user_of_this_machine_is_an_operator(own: Site) -> None:
    """A browser of the same user may see the health page, after a login like everybody."""
    ada = await own.browser().sign_in("Ada")
    assert (await ada.ask("GET", "/health"))[0] == 200
    assert (await own.browser().ask("GET", "/health", headers={"Accept": "text/html"}))[0] == 303


@pytest.mark.parametrize(
    "header",
    ["X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "Via", "X-Real-IP"],
)
async def test_requests_of_a_proxy_are_those_of_others(own: Site, header: str) -> None:
    """A tunnel of this user carries the requests of strangers."""
    ada = await own.browser().sign_in("Ada")
    assert (await ada.ask("GET", "/health", headers={header: "127.0.0.1"}))[0] == 403


async def test_another_user_of_this_machine_is_a_caller(
    own: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The kernel's table says who opened a connection; without the table, nobody is an operator."""
    ada = await own.browser().sign_in("Ada")
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    monkeypatch.setattr(local_user, "_ROOT", 4712)
    assert (await ada.ask("GET", "/health"))[0] == 403
    monkeypatch.undo()
    own.app.state.identity._sockets = tmp_path / "missing"
    assert (await ada.ask("GET", "/health"))[0] == 403


async def test_beyond_loopback_nobody_is_an_operator_by_that(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The setting counts on loopback only."""
    monkeypatch.setenv(SESSION_SECRET, "signs-the-cookies")
    settings = Settings(interface_local_operator=True, interface_login="name")
    async with open_site(store, settings, local=False) as here:
        ada = await here.browser().sign_in("Ada")
        assert (await ada.ask("GET", "/health"))[0] == 403


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        (("127.0.0.1", 3000), "0100007F:0BB8"),
        (("10.0.0.1", 3000), None),
        (("::1", 3000), None),
        (("not-an-address", 1), None),
        (None, None),
    ],
)
def test_only_ends_on_loopback_are_looked_up(
    client: tuple[str, int] | None, expected: str | None
) -> None:
    """Others are never those of this machine's user."""
    if sys.byteorder == "little":
        assert local_user._address(client) == expected


@pytest.mark.parametrize(
    "settings",
    [
        Settings(interface_operators=("Boss",)),
        Settings(interface_login="name"),
        Settings(interface_url="https://voice.example.org"),
        Settings(interface_hosts=("tunnel.example.org",)),
        Settings(trusted_proxies=("10.0.0.0/8",)),
        Settings(root_path="/voice"),
        Settings(interface_local_operator=False),
    ],
)
def test_up_leaves_the_choice_to_the_settings(settings: Settings) -> None:
    """As soon as a setting says who comes, or from where, `up` makes nobody an operator."""
    assert "CORDBOARD_INTERFACE_LOCAL_OPERATOR" not in interface_variables(settings)
    assert interface_variables(Settings())["CORDBOARD_INTERFACE_LOCAL_OPERATOR"] == "true"


async def test_proxy_that_is_not_trusted_is_a_proxy(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its headers are removed, and what it sent them for stays known."""
    monkeypatch.setenv(SESSION_SECRET, "signs-the-cookies")
    settings = Settings(interface_local_operator=True, trusted_proxies=("10.0.0.1",))
    async with open_site(store, settings) as here:
        ada = await here.browser().sign_in("Ada")
        assert (await ada.ask("GET", "/health", headers={"X-Forwarded-For": "192.0.2.1"}))[0] == 403
