"""Outgoing requests carry the session to our own hosts, and to nobody else."""

from collections.abc import AsyncIterator

import pytest

from cordboard.context import bound
from cordboard.context.clients import aiohttp_trace, host_test, httpx_async_hooks, httpx_hooks

aiohttp = pytest.importorskip("aiohttp")


@pytest.fixture
async def server() -> AsyncIterator[str]:
    """A server that says which session id it was sent, and redirects /away to its other name."""
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
async def test_aiohttp_sends_the_session_to_listed_hosts(
    server: str, path: str, hosts: list[str], sent: bool
) -> None:
    """Only a host on the list gets the headers, also after a redirect."""
    async with aiohttp.ClientSession(trace_configs=[aiohttp_trace(hosts)]) as client:
        with bound(session_id="call-7", user_name="Ada"):
            async with client.get(server + path) as answer:
                found = await answer.json()
    assert found == ({"X-Session-Id": "call-7", "X-User-Name": "Ada"} if sent else {})


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
def test_httpx_sends_the_session_to_listed_hosts(library: str) -> None:
    """The sync and the async client add the headers for listed hosts; a redirect elsewhere has none."""
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
async def test_httpx_async_client(library: str) -> None:
    """The async client does the same."""
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


def test_a_single_name_is_no_list() -> None:
    """A text in the place of a list would allow its letters; it is refused."""
    with pytest.raises(TypeError, match="list"):
        host_test("gateway")
