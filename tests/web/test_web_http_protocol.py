"""The bounds of a connection: its head, the time for it, its body, and how many there are."""

import asyncio
import contextlib
import itertools
import json
import random
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from cordboard.web import http_protocol
from cordboard.web.rate_limits import Sampler
from lines_support import Lines
from tests_support import served, until


async def echo(request: Request) -> PlainTextResponse:
    body = await request.body() if request.url.path != "/early" else b""
    return PlainTextResponse(f"{len(request.headers)} {len(body)}")


@pytest.fixture
async def address() -> AsyncIterator[tuple[str, int]]:
    app = Starlette(routes=[Route("/{path:path}", echo, methods=["GET", "POST"])])
    async with served(app) as url:
        parts = urlsplit(url)
        yield str(parts.hostname), int(parts.port or 0)


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


async def test_usual_requests(address: tuple[str, int]) -> None:
    """A head of 30 KB, bodies in pieces, several requests on one connection: all as ever."""
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
async def test_large_heads(address: tuple[str, int], pieces: list[bytes]) -> None:
    """A head over 32 KiB is 431, whether its headers are many, or one that never ends."""
    answer = await sent(address, *pieces)
    if answer:  # who goes on sending is cut off, and may not get to read it
        assert status(answer) == 431
        problem = json.loads(answer.partition(b"\r\n\r\n")[2])
        assert problem["code"] == "request_header_fields_too_large"
    else:
        assert len(pieces) > 3
    assert status(await sent(address, head(9))) == 200


async def test_no_more_than_that_is_kept(address: tuple[str, int]) -> None:
    """The server stops to read: 12 MB in one header are not held."""
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
async def test_slow_requests(
    address: tuple[str, int],
    pieces: list[bytes],
    expected: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What does not arrive in time is given up; with 408, where something had begun."""
    monkeypatch.setattr(http_protocol, "HEAD_MAX_S", 0.2)
    monkeypatch.setattr(http_protocol, "BODY_MAX_S", 0.2)
    answer = await sent(address, *pieces)
    if expected is None:
        assert answer == b""
    else:
        assert status(answer[answer.rindex(b"HTTP/1.1") :]) == expected


async def test_drops_do_not_extend_the_time(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A letter now and then does not keep a connection."""
    monkeypatch.setattr(http_protocol, "HEAD_MAX_S", 0.3)
    letters = [bytes([letter]) for letter in head(300)]
    answer = await sent(address, *letters)
    assert not answer or status(answer) == 408


async def test_a_served_request_has_no_deadline(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that takes longer than all bounds is sent: streams and waits last."""
    monkeypatch.setattr(http_protocol, "HEAD_MAX_S", 0.1)
    monkeypatch.setattr(http_protocol, "BODY_MAX_S", 0.1)

    async def late(_request: Request) -> PlainTextResponse:
        await asyncio.sleep(0.5)
        return PlainTextResponse("late")

    async with served(Starlette(routes=[Route("/", late)])) as url:
        parts = urlsplit(url)
        answer = await sent((str(parts.hostname), int(parts.port or 0)), head(9))
    assert status(answer) == 200


async def test_connections_are_bounded(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One connection more than the bound is told so and closed; when one goes, another comes in."""
    monkeypatch.setattr(http_protocol, "_connections_max", lambda: 3)
    held = [await asyncio.open_connection(*address) for _ in range(3)]

    async def answer() -> int:
        return status(await sent(address, head(9)))

    assert await answer() == 503
    held[0][1].close()

    async def is_let_in() -> bool:
        return await answer() == 200

    await until(is_let_in)
    for _, writer in held:
        writer.close()


async def test_early_answers(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that was answered before its body came keeps no connection either."""
    monkeypatch.setattr(http_protocol, "BODY_MAX_S", 0.2)
    post = b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
    answer = await sent(address, post)
    assert answer.count(b"HTTP/1.1") == 1
    assert status(answer) == 200


def test_bound_of_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some descriptors are left for what is not a caller's."""
    http_protocol._connections_max.cache_clear()
    for most, expected in ((1024, 924), (-1, 4096), (1_000_000, 4096), (50, 1)):
        limits: Any = (most, most)
        monkeypatch.setattr("resource.getrlimit", lambda _, limits=limits: limits)
        assert http_protocol._connections_max() == expected
        http_protocol._connections_max.cache_clear()


async def test_no_bytes_break_the_server(address: tuple[str, int]) -> None:
    """Mutated requests, seed 20261129: nothing is raised inside, and the server goes on."""
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


async def test_garbage_fills_no_log(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch, lines: Lines
) -> None:
    """What is no HTTP, or asks for a WebSocket, is told of a few times, however often it comes."""
    monkeypatch.setattr(http_protocol, "_strange", Sampler())
    upgrade = b"GET / HTTP/1.1\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\n\r\n"
    for _ in range(60):
        await sent(address, b"garbage\r\n\r\n")
        await sent(address, upgrade)
    warnings = [record for record in lines() if record["level"] == "warn"]
    assert 0 < len(warnings) < 40
