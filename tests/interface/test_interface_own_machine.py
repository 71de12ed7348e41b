"""With a login by name, an interface beyond loopback answers its own machine only."""

from typing import Any

import pytest

from cordboard import emit
from cordboard.environment import CONTROL_SECRET, SESSION_SECRET
from cordboard.interface.app import create_app
from cordboard.settings import Settings
from interface.interface_support import SECRET

POD = Settings(interface_url="http://localhost:3000")
PATHS = ("/", "/login", "/rooms", "/api/logs", "/static/style.css", "/nowhere")


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONTROL_SECRET, SECRET)
    monkeypatch.setenv(SESSION_SECRET, "signs-the-cookies")


async def status_of(
    app: Any, path: str, peer: tuple[str, int] | None, headers: dict[str, str]
) -> int:
    """Return the status of a request from an address; its Host header is the one that the interface serves."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    named = {"host": "localhost:3000", **headers}
    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in named.items()],
        "client": peer,
        "server": ("10.1.2.3", 3000),
    }
    await app(scope, receive, send)
    return int(sent[0]["status"])


@pytest.mark.parametrize(
    "peer", [("10.1.2.9", 4711), ("::ffff:10.1.2.9", 4711), ("fd00::9", 1), None]
)
async def test_other_machine_is_refused_whatever_it_sends(peer: tuple[str, int] | None) -> None:
    """The Host header is no barrier: the sender chooses it."""
    app = create_app(POD, local=False)
    forged: tuple[dict[str, str], ...] = (
        {},
        {"x-forwarded-for": "127.0.0.1"},
        {"x-forwarded-for": "127.0.0.1", "x-real-ip": "127.0.0.1", "forwarded": "for=127.0.0.1"},
        {"origin": "http://localhost:3000"},
    )
    for headers in forged:
        for path in PATHS:
            assert await status_of(app, path, peer, headers) == 403, (path, headers)


@pytest.mark.parametrize("peer", [("127.0.0.1", 4711), ("::1", 4711), ("::ffff:127.0.0.1", 4711)])
async def test_port_forward_is_served(peer: tuple[str, int]) -> None:
    """It connects to the loopback address within the pod."""
    app = create_app(POD, local=False)
    assert await status_of(app, "/login", peer, {}) == 200


async def test_request_that_a_proxy_has_marked_is_refused() -> None:
    """A sidecar in the pod connects from loopback, for everybody."""
    app = create_app(POD, local=False)
    for name in ("x-forwarded-for", "x-forwarded-proto", "forwarded", "via", "x-real-ip"):
        assert await status_of(app, "/login", ("127.0.0.1", 1), {name: "10.1.2.9"}) == 403, name


async def test_probes_come_from_other_machines() -> None:
    """The metrics still need their secret."""
    app = create_app(POD, local=False)
    for path in ("/healthz", "/readyz"):
        assert await status_of(app, path, ("10.1.2.9", 1), {}) == 200, path
    assert await status_of(app, "/metrics", ("10.1.2.9", 1), {}) == 401
    authorized = {"authorization": f"Bearer {SECRET}"}
    assert await status_of(app, "/metrics", ("10.1.2.9", 1), authorized) == 200


async def test_refusal_is_logged_with_the_sender() -> None:
    """An operator sees why a page does not open."""
    with emit.capture() as records:
        await status_of(create_app(POD, local=False), "/login", ("10.1.2.9", 4711), {})
    (line,) = [record for record in records if record.get("event") == "auth.refused"]
    assert line["meta"]["peer"] == "10.1.2.9"


async def test_interface_with_real_logins_serves_other_machines() -> None:
    """The provider or the proxy keeps strangers out there."""
    settings = Settings(interface_login="header", trusted_proxies=("10.1.2.9",))
    app = create_app(settings, local=False)
    named = {"x-forwarded-user": "ada", "x-forwarded-for": "192.0.2.1"}
    # The proxy has signed the person in, so the login page leads on.
    assert await status_of(app, "/login", ("10.1.2.9", 1), named) == 303
