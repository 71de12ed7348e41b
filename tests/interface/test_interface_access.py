"""Who may see and do what: each route has a decision, and no route shows another person's session."""

import re
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Mount

from cordboard import emit
from cordboard.contract.errors import SettingsError
from cordboard.environment import CONTROL_SECRET, SESSION_SECRET
from cordboard.gateway.app import create_app as create_gateway
from cordboard.interface import access
from cordboard.interface.app import create_app
from cordboard.interface.people import Person, Roles
from cordboard.settings import Settings
from cordboard.store import RedisStore
from interface.interface_support import SECRET, Browser, Site, an_id, open_site
from tests_support import served

DECISIONS = {
    access.required_person,
    access.visitor,
    access.operator,
    access.seen_record,
    access.own_record,
}
OF_SESSIONS = {access.seen_record, access.own_record}
BOSS = "Boss"


def routes() -> Iterator[tuple[str, BaseRoute]]:
    """Yield each route of the interface with its path."""
    # With all routes: those of the login with OpenID Connect exist only there.
    settings = Settings(
        interface_login="oidc", oidc_issuer="https://login.example", oidc_client_id="voice"
    )
    for route in flat(create_app(settings).routes):
        yield getattr(route, "path", ""), route


def flat(found: Iterable[Any]) -> Iterator[BaseRoute]:
    """Yield the routes, also those of included routers (FastAPI nests them since 0.160)."""
    for route in found:
        if hasattr(route, "original_router"):
            yield from flat(route.original_router.routes)
        else:
            yield route


def calls_of(dependant: Dependant) -> set[Any]:
    """Return the functions on which a route depends."""
    found = {dependant.call}
    for item in dependant.dependencies:
        found |= calls_of(item)
    return found


def decisions_of(route: BaseRoute) -> set[Any]:
    return calls_of(route.dependant) & DECISIONS if isinstance(route, APIRoute) else set()


def session_calls() -> list[tuple[str, str]]:
    """Return the method and path of each route of one session."""
    found = []
    for path, route in routes():
        if "{session_id}" in path and isinstance(route, APIRoute):
            found += [(method, path) for method in sorted(route.methods or ())]
    return found


def test_each_route_has_a_decision() -> None:
    """A route that is neither open nor decided about fails this test: see interface/access.py."""
    for path, route in routes():
        if path in access.OPEN_PATHS or path == access.METRICS_PATH:
            assert not decisions_of(route) & OF_SESSIONS, path
            continue
        assert not isinstance(route, Mount), path
        assert decisions_of(route), f"{path}: add a parameter of a type of interface/access.py"


def test_each_route_of_a_session_decides_about_the_session() -> None:
    """A login alone is not enough there."""
    checked = 0
    for path, route in routes():
        if re.search(r"session", path) and "{" in path:
            assert "{session_id}" in path, path
            assert decisions_of(route) & OF_SESSIONS, path
            checked += 1
    assert checked >= 6


def test_no_open_path_is_left_over() -> None:
    """A path that is no route any more would open the next route that gets its name."""
    assert {path for path, _ in routes()} >= access.OPEN_PATHS


@pytest.fixture
async def staffed(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    """An interface with an operator, and a gateway."""
    monkeypatch.setenv(CONTROL_SECRET, SECRET)
    monkeypatch.setenv(SESSION_SECRET, "signs-the-cookies")
    async with (
        served(create_gateway(Settings(), store)) as gateway,
        open_site(store, Settings(gateway_url=gateway, interface_operators=(BOSS,))) as here,
    ):
        yield here


async def ask(browser: Browser, method: str, path: str, session_id: str) -> tuple[int, Any]:
    """Return the status of a request for a session, and what it says except the id."""
    content: dict[str, Any] = {} if method == "GET" else {"json": {}}
    where = path.replace("{session_id}", session_id)
    status, said, _ = await browser.ask(method, where, **content)
    return status, str(said).replace(session_id, "")


async def test_session_of_another_is_404_by_every_route(staffed: Site) -> None:
    """The answer is the one for a session that does not exist."""
    ada, eve = await staffed.browser().sign_in("Ada"), await staffed.browser().sign_in("Eve")
    await ada.join("s")
    calls = session_calls()
    assert len(calls) >= 7
    for method, path in calls:
        status, said = await ask(eve, method, path, an_id("s"))
        assert status == 404, (method, path)
        assert (status, said) == await ask(eve, method, path, "never-existed"), (method, path)
        # A claimed id makes no difference.
        headers = {"X-Session-Id": an_id("s"), "X-User-Name": BOSS}
        where = path.replace("{session_id}", an_id("s"))
        content: dict[str, Any] = {} if method == "GET" else {"json": {}}
        assert (await eve.ask(method, where, headers=headers, **content))[0] == 404
    assert (await staffed.store.session(an_id("s"))).live


async def test_request_without_a_login_reaches_no_session(staffed: Site) -> None:
    """The API answers 401, a page leads to the login page."""
    ada = await staffed.browser().sign_in("Ada")
    await ada.join("s")
    for method, path in session_calls():
        status, _ = await ask(staffed.browser(), method, path, an_id("s"))
        assert status == (401 if path.startswith("/api/") else 303), (method, path)


async def test_operator_sees_and_ends_the_session_of_another(staffed: Site) -> None:
    """The end is recorded with the operator's id; looking writes no line into the session's log."""
    ada, boss = await staffed.browser().sign_in("Ada"), await staffed.browser().sign_in(BOSS)
    await ada.join("s")
    path = f"/api/sessions/{an_id('s')}"
    with emit.capture() as looking:
        status, shown, _ = await boss.ask("GET", path)
    assert (status, shown["sessionId"]) == (200, an_id("s"))
    assert not [line for line in looking if line["sessionId"] == an_id("s")]
    with emit.capture() as ending:
        status, _, _ = await boss.ask("POST", f"{path}/leave")
    assert status == 200
    assert not (await staffed.store.session(an_id("s"))).live
    (told,) = [line for line in ending if "operator" in line.get("meta", {})]
    assert (told["sessionId"], told["level"]) == (an_id("s"), "warn")
    ended = [line for line in ending if line.get("event") == "session.ended"]
    assert [line["meta"]["detail"] for line in ended] == ["ended by an operator"]


async def test_operator_cannot_speak_in_the_session_of_another(staffed: Site) -> None:
    """Neither a connection nor credentials of a relay."""
    ada, boss = await staffed.browser().sign_in("Ada"), await staffed.browser().sign_in(BOSS)
    await ada.join("s")
    for method, what in (("POST", "offer"), ("PATCH", "offer"), ("GET", "ice")):
        status, _ = await ask(boss, method, f"/api/sessions/{{session_id}}/{what}", an_id("s"))
        assert status == 404, what


async def test_operator_writes_no_line_into_the_session_of_another(staffed: Site) -> None:
    """A role reads; a session's log belongs to its user."""
    ada, boss = await staffed.browser().sign_in("Ada"), await staffed.browser().sign_in(BOSS)
    await ada.join("s")
    with emit.capture() as records:
        await boss.ask("GET", "/rooms/demo", headers={"X-Session-Id": an_id("s")})
    (access_line,) = [r for r in records if r.get("meta", {}).get("path") == "/rooms/demo"]
    assert access_line["sessionId"].startswith("server:")


@pytest.mark.parametrize(
    ("account", "groups", "role"),
    [
        ("ada", (), "caller"),
        ("boss", (), "operator"),
        ("Boss", (), "caller"),
        ("", (), "caller"),
        ("ada", ("staff", "voice-operators"), "operator"),
        ("ada", ("staff", "Voice-Operators"), "caller"),
        ("voice-operators", (), "caller"),
    ],
)
def test_role_comes_from_the_lists_of_the_settings(
    account: str, groups: tuple[str, ...], role: str
) -> None:
    """Names are compared as they are."""
    roles = Roles(
        Settings(interface_operators=("boss",), interface_operator_groups=("voice-operators",))
    )
    assert roles.role_of(account, groups) == role


def test_lists_show_a_caller_the_own_sessions_only() -> None:
    """An operator sees those of all."""
    assert access.listed_user(Person("u-1", "Ada")) == "u-1"
    assert access.listed_user(Person("u-1", "Ada", "operator")) is None
    assert not access.may_see(Person("u-1", "Ada"), {"userId": "u-2"})
    assert not access.may_see(Person("u-1", "Ada"), {})
    assert access.may_see(Person("u-1", "Ada"), {"userId": "u-1"})
    assert access.may_see(Person("u-1", "Ada", "operator"), {"userId": "u-2"})


def test_login_by_name_has_no_groups() -> None:
    """The message says what to set."""
    with pytest.raises(SettingsError, match="CORDBOARD_INTERFACE_OPERATORS"):
        create_app(Settings(interface_operator_groups=("staff",)))
