"""The HTTP client between components: what every request has, and how each failure is reported."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from cordboard.context import Context, bound_context
from cordboard.contract.errors import GatewayError
from cordboard.contract.http_api import Problem, read_problem, session_path
from cordboard.web.gateway_proxy import GatewayProxy
from cordboard.web.http_client import ANSWER_MAX_BYTES, HttpClient, NoAnswerError, open_connections
from tests_support import StandIn, served, silent_server

SECRET = "control-secret-of-the-plane"
Handler = Callable[[Request], Awaitable[Response]]


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with open_connections(None) as connections:
        yield HttpClient(connections)


def app(handler: Handler) -> Starlette:
    return Starlette(routes=[Route("/{path:path}", handler, methods=["GET", "POST", "PATCH"])])


async def test_request_carries_credential_and_session(http: HttpClient) -> None:
    """The other component authenticates the request, and logs the same session id."""
    headers: dict[str, str] = {}

    async def answer(request: Request) -> Response:
        headers.update(request.headers)
        return JSONResponse({"a": 1}, 429, {"Retry-After": "7"})

    async with served(app(answer)) as url:
        with bound_context(Context(session_id="call-7", epoch=2)):
            reply = await http.request("POST", f"{url}/x", b"{}", credential=SECRET, timeout_s=5)
    assert headers["authorization"] == f"Bearer {SECRET}"
    assert (headers["x-session-id"], headers["x-session-epoch"]) == ("call-7", "2")
    assert headers["accept-encoding"] == "identity"
    assert (reply.status, reply.json(), reply.media_type) == (429, {"a": 1}, "application/json")
    assert (reply.is_success, reply.retry_after_s(1)) == (False, 7)


async def test_request_without_credential_has_no_authorization(http: HttpClient) -> None:
    """A gateway without a secret gets no empty credential."""
    seen: list[str | None] = []

    async def answer(request: Request) -> Response:
        seen.append(request.headers.get("authorization"))
        return JSONResponse({})

    async with served(app(answer)) as url:
        await http.request("GET", url, credential=None, timeout_s=5)
    assert seen == [None]


async def test_interface_follows_no_redirect(http: HttpClient, stand_in: StandIn) -> None:
    """A redirect takes neither the control secret nor a person's offer to another server."""

    async def redirect(_request: Request) -> Response:
        return RedirectResponse(f"{stand_in.url}/stolen", 307)

    async with served(app(redirect)) as url:
        proxy = GatewayProxy(http, url, lambda: (SECRET,))
        with pytest.raises(GatewayError, match="HTTP 307") as refused:
            await proxy.ask("POST", "/join", b"{}")
        with pytest.raises(GatewayError):
            await proxy.record("call-7")
        with pytest.raises(GatewayError):
            async with proxy.events("call-7"):
                pass
    assert "CORDBOARD_GATEWAY_URL" in str(refused.value.hint)
    assert stand_in.asked == []


async def test_answer_over_the_bound_is_no_answer(http: HttpClient) -> None:
    """A long answer is given up, whoever sends it."""

    async def answer(_request: Request) -> Response:
        return Response(b" " * (ANSWER_MAX_BYTES + 1))

    async with served(app(answer)) as url:
        with pytest.raises(NoAnswerError, match="over") as raised:
            await http.request("GET", url, credential=None, timeout_s=10)
    assert raised.value.failure == "unreachable"


async def test_closed_port_is_refused(http: HttpClient) -> None:
    """A port on which nothing listens is told from a host that does not answer."""
    with pytest.raises(NoAnswerError) as raised:
        await http.request("GET", "http://127.0.0.1:9", credential=None, timeout_s=5)
    assert (raised.value.failure, raised.value.reason) == ("refused", "Connection refused")


async def test_silent_server_is_a_timeout(http: HttpClient) -> None:
    """A server that accepts the connection and says nothing times out."""
    async with silent_server() as url:
        with pytest.raises(NoAnswerError) as raised:
            await http.request("GET", url, credential=None, timeout_s=0.1)
    assert raised.value.failure == "timeout"


async def test_stream_that_breaks_is_no_answer(http: HttpClient) -> None:
    """A connection that is lost while a stream is read fails like one that was never there."""

    async def broken(_reader: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ndata:\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(broken, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(NoAnswerError):
            async with http.stream(url, credential=None, connect_timeout_s=5) as answer:
                await answer.content.read()
        with pytest.raises(GatewayError):
            async with GatewayProxy(http, url, lambda: ()).events("call-7") as content:
                await content.read()


@pytest.mark.parametrize(
    "content", [b"", b"[1]", b"\xff", b"null", b'{"code": "busy"}', b"[" * 100_000, b"<html>"]
)
def test_other_bodies_are_no_problem(content: bytes) -> None:
    """Whatever a server sends instead of a problem is read as none."""
    assert read_problem(content) is None


def test_problem_is_read() -> None:
    """The members of an error are read as texts; absent ones are empty."""
    content = b'{"type": "t", "code": "busy", "detail": "No slot.", "hint": null, "status": 409}'
    assert read_problem(content) == Problem("t", "busy", "No slot.", "")


def test_session_path_quotes_the_id() -> None:
    """No session id changes which resource is requested."""
    assert session_path("a/../b?c", "offer") == "/sessions/a%2F..%2Fb%3Fc/offer"
