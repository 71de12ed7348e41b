"""Outgoing requests carry the session to listed hosts, and to no others."""

from collections.abc import AsyncIterator

import pytest

from cordboard.context import bound
from cordboard.context.clients import aiohttp_trace, host_test, httpx_async_hooks, httpx_hooks

aiohttp = pytest.importorskip("aiohttp")


@pytest.fixture
async def server() -> AsyncIterator[str]:
    """A server that returns the session id of a request, and redirects /away to its other name."""
    from aiohttp import web

    async def echo(request: web.Request) -> web.Response:
        if request.path == "/away":
            raise web.HTTPFound(f"http://localhost:{request.url.port}/echo")
        return web.json_response({k: v for k, v in request.headers.items() if k.startswith("X-")})

    app = web.Application()
    app.router.add_get("/{path}", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    yield f"http://127.0.0.1:{port}"
    await runner.cleanup()


@pytest.mark.parametrize(
    ("path", "hosts", "sent"),
    [("/echo", ["127.0.0.1"], True), ("/echo", ["*.internal"], False), ("/away", ["127.0.0.1"], False)],
)  # fmt: skip
async def test_aiohttp_sends_the_session_to_listed_hosts_only(
    server: str, path: str, hosts: list[str], sent: bool
) -> None:
    """A host that is not listed gets no headers, even after a redirect."""
    async with aiohttp.ClientSession(trace_configs=[aiohttp_trace(hosts)]) as client:
        with bound(session_id="call-7", user_name="Ada"):
            async with client.get(server + path) as answer:
                found = await answer.json()
    assert found == ({"X-Session-Id": "call-7", "X-User-Name": "Ada"} if sent else {})


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
def test_httpx_sends_the_session_to_listed_hosts_only(library: str) -> None:
    """A host that is not listed gets no headers, even after a redirect."""
    httpx = pytest.importorskip(library)
    seen: list[str | None] = []

    def answer(request: object) -> object:
        seen.append(request.headers.get("x-session-id"))  # type: ignore[attr-defined]
        if request.url.host == "gateway":  # type: ignore[attr-defined]
            return httpx.Response(302, headers={"Location": "http://elsewhere/"})
        return httpx.Response(200)

    transport = httpx.MockTransport(answer)
    hooks = httpx_hooks(["gateway", "*.internal"])
    with bound(session_id="call-7"), httpx.Client(
        transport=transport, event_hooks=hooks, follow_redirects=True
    ) as client:  # fmt: skip
        client.get("http://gateway/x")
        client.get("http://a.internal/x")
    assert seen == ["call-7", None, "call-7"]


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
async def test_httpx_async_client_sends_the_session_to_listed_hosts_only(library: str) -> None:
    """The asynchronous client behaves like the other."""
    httpx = pytest.importorskip(library)
    seen: list[str | None] = []

    def answer(request: object) -> object:
        seen.append(request.headers.get("x-session-id"))  # type: ignore[attr-defined]
        return httpx.Response(200)

    with bound(session_id="call-7"):
        async with httpx.AsyncClient(
            transport=httpx.MockTransport(answer), event_hooks=httpx_async_hooks(["gateway"])
        ) as client:
            await client.get("http://GATEWAY/x")
            await client.get("http://gateway.evil/x")
    assert seen == ["call-7", None]


def test_string_instead_of_a_list_of_hosts_is_refused() -> None:
    """A string would allow each of its letters as a host."""
    with pytest.raises(TypeError, match="list"):
        host_test("gateway")
