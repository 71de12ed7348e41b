"""Checks that hold for every component: callers and host names."""

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.routing import Mount, Route

from cordboard.edge import app as edge
from cordboard.environment import CONTROL_SECRET
from cordboard.interface import app as interface
from cordboard.web.auth import OPEN_PATHS
from parts_support import PARTS, client, make

SECRET = "the-secret-of-all-the-parts"


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONTROL_SECRET, SECRET)


def _flat(routes: Iterable[Any]) -> Iterator[Any]:
    """Yield routes, those of included routers too: FastAPI nests them."""
    for route in routes:
        if hasattr(route, "original_router"):
            yield from _flat(route.original_router.routes)
        else:
            yield route


@pytest.mark.parametrize(
    ("part", "own"), [("interface", interface.OWN_PATHS), ("edge", edge.OWN_PATHS - {"v1"})]
)
def test_no_path_prefix_begins_like_a_route(part: str, own: frozenset[str]) -> None:
    """The list of first segments is that of the routes; middleware serves /v1."""
    paths = [route.path for route in _flat(make(part).routes)]
    assert {path.split("/")[1] for path in paths} - {""} == own


def paths_of(app: FastAPI, part: str) -> list[tuple[str, str]]:
    """Return the method and path of every route, and some paths without a route."""
    paths = [
        ("GET", path) for path in ("/docs", "/redoc", "/openapi.json", "/metrics", "/no/where")
    ]
    for route in _flat(app.routes):
        if isinstance(route, Route):
            path = route.path.replace("{session_id}", "s-1").replace("{room:path}", "r")
            paths += [(method, path) for method in sorted(route.methods or ())]
        elif isinstance(route, Mount):
            paths.append(("GET", f"{route.path}/x"))
    if part in {"interface", "edge"}:  # their other paths are for strangers
        return [("GET", "/metrics")]
    return [item for item in paths if item[1] not in OPEN_PATHS]


@pytest.mark.parametrize("part", PARTS)
async def test_every_path_needs_the_secret(part: str) -> None:
    """401 without the secret at every path except the health checks."""
    app = make(part)
    async with client(app) as asking:
        for method, path in paths_of(app, part):
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"X-Bot-Secret": SECRET + "x"}):
                answer = await asking.request(method, path, headers=headers)
                assert answer.status_code == 401, (method, path)
        for path in OPEN_PATHS:
            assert (await asking.get(path)).status_code in {200, 503}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("path", ["/", "/sessions", "/metrics", "/healthz"])
async def test_websockets_need_the_secret(part: str, path: str) -> None:
    """A WebSocket without the secret is closed before it opens."""
    sent: list[dict[str, Any]] = []
    app: Any = make(part)
    scope = {"type": "websocket", "path": path, "headers": [(b"host", b"localhost")]}

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


@pytest.mark.parametrize("part", PARTS)
async def test_scrape_secret_gives_access_to_the_metrics_alone(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prometheus needs no right to start and end calls; without the file's secret it gets nothing."""
    monkeypatch.setenv("CORDBOARD_SCRAPE_SECRET", "of-the-monitoring")
    headers = {"Authorization": "Bearer of-the-monitoring"}
    app = make(part)
    async with client(app) as asking:
        assert (await asking.get("/metrics", headers=headers)).status_code == 200
        for method, path in paths_of(app, part):
            if path != "/metrics":
                answer = await asking.request(method, path, headers=headers)
                assert answer.status_code == 401, path
        assert (await asking.get("/metrics/", headers=headers)).status_code == 401
        monkeypatch.setenv("CORDBOARD_SCRAPE_SECRET", "another")
        assert (await asking.get("/metrics", headers=headers)).status_code == 401


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "[", "", "0.0.0.0"])
async def test_foreign_hosts_are_refused_on_loopback(part: str, host: str) -> None:
    """421 for every other host name, with or without the secret (DNS rebinding)."""
    async with client(make(part)) as asking:
        for headers in ({}, {"Authorization": f"Bearer {SECRET}"}):
            answer = await asking.get("/metrics", headers={"Host": host} | headers)
            assert answer.status_code == 421


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "127.8.8.8:80", "[::1]:80", "Proxy"])
async def test_hosts_of_this_machine_and_of_the_settings_are_accepted(part: str, host: str) -> None:
    """Host names of this machine, and of a proxy in the settings."""
    names: Any = {"interface_hosts": ("proxy",), "local_hosts": ("proxy",)}
    async with client(make(part, **names)) as asking:
        headers = {"Host": host, "Authorization": f"Bearer {SECRET}"}
        assert (await asking.get("/metrics", headers=headers)).status_code == 200


@pytest.mark.parametrize("part", ["gateway", "operator", "runner"])
async def test_no_documentation_page_loads_scripts_of_another_site(part: str) -> None:
    """FastAPI's pages would; there is no /redoc, and only the gateway's own page at /docs."""
    async with client(make(part)) as asking:
        for path in ("/docs", "/redoc"):
            answer = await asking.get(path, headers={"Authorization": f"Bearer {SECRET}"})
            assert answer.status_code == (200 if (part, path) == ("gateway", "/docs") else 404)
            assert "<script" not in answer.text


@pytest.mark.parametrize("part", ["gateway", "operator", "runner"])
async def test_readiness_shows_strangers_only_a_code(part: str) -> None:
    """The reason, and the address of Redis, are for callers with the secret."""
    app = make(part)
    app.state.services = None
    async with client(app) as asking:
        answer = await asking.get("/readyz")
        assert answer.status_code == 503
        assert answer.json().keys() == {"status", "code"}
        assert answer.json()["status"] == "not ready"
        full = await asking.get("/readyz", headers={"Authorization": f"Bearer {SECRET}"})
        assert full.json()["code"] == answer.json()["code"]
        assert full.json()["detail"]
