"""The limits of a connection: the size of its heads, slow requests, and the number of connections."""

import asyncio
import contextlib
import itertools
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from cordboard.web.http_protocol import ConnectionLimits, connections_for, malformed_requests
from cordboard.web.rate_limits import Sampler
from lines_support import Lines
from tests_support import served, until


async def echo(request: Request) -> PlainTextResponse:
    body = await request.body() if request.url.path != "/early" else b""
    return PlainTextResponse(f"{len(request.headers)} {len(body)}")


@asynccontextmanager
async def listening(limits: ConnectionLimits | None = None) -> AsyncIterator[tuple[str, int]]:
    """Serve `echo`; give the server's address."""
    app = Starlette(routes=[Route("/{path:path}", echo, methods=["GET", "POST"])])
    async with served(app, limits) as url:
        parts = urlsplit(url)
        yield str(parts.hostname), int(parts.port or 0)


@pytest.fixture
async def address() -> AsyncIterator[tuple[str, int]]:
    async with listening() as where:
        yield where


async def sent(address: tuple[str, int], *pieces: bytes) -> bytes:
    """Send pieces, one packet each; return all that comes until the server closes."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.005)
        return await asyncio.wait_for(reader.read(), 20)
    except ConnectionError:
        return b""
    finally:
        writer.close()


def head(size: int, path: str = "/", more: str = "Connection: close\r\n") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n{more}A: {'y' * size}\r\n\r\n".encode()


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


async def test_large_and_pipelined_requests_within_the_limits_are_served(
    address: tuple[str, int],
) -> None:
    """A head of 30 KB, bodies in pieces, several requests on one connection."""
    assert status(await sent(address, head(30_000))) == 200
    request = head(30_000)
    assert (
        status(await sent(address, *(request[at : at + 999] for at in range(0, 31_000, 999))))
        == 200
    )
    post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n"
    answers = await sent(
        address,
        post,
        b"z" * 100_000,
        b"z" * 100_000 + post[:20],
        post[20:] + b"z" * 200_000 + head(5),
    )
    assert answers.count(b"HTTP/1.1 200") == 3
    assert answers.count(b" 200000") == 2
    pipelined = await sent(address, head(9, more="") * 20 + head(9))
    assert pipelined.count(b"HTTP/1.1 200") == 21


@pytest.mark.parametrize(
    "pieces",
    [
        [head(50_000)],
        [head(50_000)[:100], head(50_000)[100:]],
        [head(10)[:-2], *[b"B: " + b"y" * 9000 + b"\r\n"] * 6, b"\r\n"],
        [b"GET / HTTP/1.1\r\nA: ", *[b"y" * 16_000] * 20],
        [head(10, "/" + "p" * 50_000)],
        [b"GET /" + b"p" * 60_000],
    ],
)
async def test_head_over_the_limit_is_431(address: tuple[str, int], pieces: list[bytes]) -> None:
    """The limit holds for many headers, and for one that never ends."""
    answer = await sent(address, *pieces)
    if answer:  # a client that keeps sending is cut off, and may not get to read it
        assert status(answer) == 431
        problem = json.loads(answer.partition(b"\r\n\r\n")[2])
        assert problem["code"] == "request_header_fields_too_large"
    else:
        assert len(pieces) > 3
    assert status(await sent(address, head(9))) == 200


async def test_server_stops_reading_an_endless_header(address: tuple[str, int]) -> None:
    """12 MB in one header are not kept in memory."""
    _, writer = await asyncio.open_connection(*address)
    writer.write(b"GET / HTTP/1.1\r\nA: ")
    taken = 0
    with contextlib.suppress(ConnectionError):
        while taken < 12_000_000:
            writer.write(b"y" * 65_536)
            await writer.drain()
            taken += 65_536
    assert taken < 12_000_000
    writer.close()


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([b""], None),
        ([b"\r\n\r\n"], None),
        ([b"GET / HT"], 408),
        ([b"GET / HTTP/1.1\r\nHost: x\r\n"], 408),
        ([b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n12"], 408),
        ([b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12"], 408),
        ([head(9, more=""), b"GET /"], 408),
    ],
)
async def test_slow_request_is_closed_with_408_if_it_has_begun(
    pieces: list[bytes], expected: int | None
) -> None:
    """A head or a body must arrive in time; a connection without a request is closed silently."""
    async with listening(ConnectionLimits(head_s=0.2, body_s=0.2)) as address:
        answer = await sent(address, *pieces)
    if expected is None:
        assert answer == b""
    else:
        assert status(answer[answer.rindex(b"HTTP/1.1") :]) == expected


async def test_single_bytes_do_not_extend_the_deadline() -> None:
    """A byte now and then does not keep a connection open."""
    pieces = [bytes([byte]) for byte in head(300)]
    async with listening(ConnectionLimits(head_s=0.3)) as address:
        answer = await sent(address, *pieces)
    assert not answer or status(answer) == 408


async def test_response_has_no_deadline() -> None:
    """A response that takes longer than all limits is sent: event streams and waits last."""

    async def late(_request: Request) -> PlainTextResponse:
        await asyncio.sleep(0.5)
        return PlainTextResponse("late")

    limits = ConnectionLimits(head_s=0.1, body_s=0.1)
    async with served(Starlette(routes=[Route("/", late)]), limits) as url:
        parts = urlsplit(url)
        answer = await sent((str(parts.hostname), int(parts.port or 0)), head(9))
    assert status(answer) == 200


async def test_connection_over_the_limit_is_503() -> None:
    """One connection too many is refused; when another one closes, a new one is accepted."""
    async with listening(ConnectionLimits(connections=3)) as address:
        open_connections = [await asyncio.open_connection(*address) for _ in range(3)]

        async def answer() -> int:
            return status(await sent(address, head(9)))

        assert await answer() == 503
        open_connections[0][1].close()

        async def is_accepted() -> bool:
            return await answer() == 200

        await until(is_accepted)
        for _, writer in open_connections:
            writer.close()


async def test_request_that_was_answered_before_its_body_keeps_no_connection() -> None:
    """The body has a deadline even if the response was sent without waiting for it."""
    post = b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
    async with listening(ConnectionLimits(body_s=0.2)) as address:
        answer = await sent(address, post)
    assert answer.count(b"HTTP/1.1") == 1
    assert status(answer) == 200


@pytest.mark.parametrize(
    ("descriptors", "expected"), [(1024, 924), (-1, 4096), (1_000_000, 4096), (50, 1)]
)
def test_connections_leave_descriptors_for_other_files(descriptors: int, expected: int) -> None:
    """Some descriptors remain for Redis, runners and files."""
    assert connections_for(descriptors) == expected


async def test_no_bytes_break_the_server(address: tuple[str, int]) -> None:
    """Mutated requests (seed 20261129) raise nothing inside the server, and it keeps serving."""
    raised: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: raised.append(context))
    chance = random.Random(20261129)
    post = b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n123456789"
    chunked = (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    )
    upgrade = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    for _ in range(120):
        whole = bytearray(
            b"".join(chance.choices([head(40), post, chunked, upgrade, head(20_000)], k=3))
        )
        for _ in range(chance.randrange(6)):
            whole[chance.randrange(len(whole))] = chance.randrange(256)
        cut = sorted(chance.choices(range(len(whole)), k=chance.randrange(4)))
        pieces = [whole[a:b] for a, b in itertools.pairwise([0, *cut, len(whole)])]
        _, writer = await asyncio.open_connection(*address)
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
        await asyncio.sleep(0.003)
        writer.close()
    assert status(await sent(address, head(9))) == 200
    assert not raised


async def test_malformed_requests_do_not_fill_the_log(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch, lines: Lines
) -> None:
    """Bytes that are not HTTP and requests for a WebSocket write a few lines, however often they come."""
    monkeypatch.setattr(malformed_requests, "sampler", Sampler())
    upgrade = b"GET / HTTP/1.1\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\n\r\n"
    for _ in range(60):
        await sent(address, b"garbage\r\n\r\n")
        await sent(address, upgrade)
    warnings = [record for record in lines() if record["level"] == "warn"]
    assert 0 < len(warnings) < 40
