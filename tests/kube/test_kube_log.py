"""The log of a container from an API that misbehaves as told, over real HTTP."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cordboard.contract.errors import ClusterError, ClusterUnavailableError, NotFoundError
from cordboard.kube import Kube, KubeTimes, open_kube

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
FIRST, SECOND = b"5\r\none, \r\n", b"4\r\ntwo\n\r\n"

Answer = Callable[[str], bytes]
"""Returns what the server sends to a request with this head."""


@asynccontextmanager
async def serving(answer: Answer, *, then_silent: bool = False) -> AsyncIterator[str]:
    """Serve answers on a free port; after each, close the connection, or wait for the client to do so. Yield the URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        writer.write(answer(head))
        if then_silent:
            await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def opened(
    folder: Path, url: str, times: KubeTimes | None = None, **user: Any
) -> AsyncIterator[Kube]:
    """Open the cluster of a URL."""
    table = {
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    file = folder / "config"
    file.write_bytes(msgspec.json.encode(table))
    kube = open_kube([file], times=times or KubeTimes())
    try:
        yield kube
    finally:
        await kube.close()


async def read(kube: Kube, found: bytearray | None = None) -> bytes:
    """Return a whole log; what was read of one that breaks off is in ``found``."""
    found = bytearray() if found is None else found
    async with kube.log("bots", "p", "main", timestamps="true") as chunks:
        async for chunk in chunks:
            found += chunk
    return bytes(found)


async def test_log_is_read_with_the_login_and_the_parameters(tmp_path: Path) -> None:
    """It comes in the pieces in which the server sends it, and is never asked for in compressed form."""
    heads = []

    def answer(head: str) -> bytes:
        heads.append(head)
        return OK + FIRST + SECOND + END

    async with serving(answer) as url, opened(tmp_path, url, token="secret") as kube:
        assert await read(kube) == b"one, two\n"
    (head,) = heads
    assert head.startswith("GET /api/v1/namespaces/bots/pods/p/log?container=main&timestamps=true ")
    assert "Bearer secret\r\n" in head
    assert "Accept-Encoding: identity\r\n" in head


async def test_token_that_was_replaced_is_read_again(tmp_path: Path) -> None:
    """The token of a service account's file changes while a process runs."""
    file = tmp_path / "token"
    file.write_text("old")

    def answer(head: str) -> bytes:
        if "Bearer new\r\n" in head:
            return OK + FIRST + END
        file.write_text("new")
        return b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"

    async with serving(answer) as url, opened(tmp_path, url, tokenFile=str(file)) as kube:
        assert await read(kube) == b"one, "


@pytest.mark.parametrize(
    ("said", "error", "words"),
    [
        (
            b'HTTP/1.1 404 Not Found\r\nContent-Length: 22\r\n\r\n{"message":"no pod p"}',
            NotFoundError,
            "no pod p",
        ),
        # It would take the login to another address.
        (b"HTTP/1.1 302 Found\r\nLocation: /else\r\nContent-Length: 0\r\n\r\n", ClusterError, "302"),
        (b"", ClusterUnavailableError, "cannot be reached"),
        (b"nonsense\r\n\r\n", ClusterUnavailableError, "cannot be reached"),
    ],
)  # fmt: skip
async def test_refusals_are_cordboards_errors(
    tmp_path: Path, said: bytes, error: type[Exception], words: str
) -> None:
    """Also an answer that is none."""
    async with serving(lambda _: said) as url, opened(tmp_path, url) as kube:
        with pytest.raises(error, match=words):
            await read(kube)


@pytest.mark.parametrize(
    ("then_silent", "times", "words"),
    [
        (False, KubeTimes(), "cannot be reached"),
        (True, KubeTimes(request=0.25), "does not answer in time"),
    ],
    ids=["closed", "silent"],
)
async def test_log_that_breaks_off_is_no_end(
    tmp_path: Path, then_silent: bool, times: KubeTimes, words: str
) -> None:
    """What came before is there; then the reader learns that something is missing."""
    found = bytearray()
    async with (
        serving(lambda _: OK + FIRST, then_silent=then_silent) as url,
        opened(tmp_path, url, times) as kube,
    ):
        with pytest.raises(ClusterUnavailableError, match=words):
            await read(kube, found)
    assert found == b"one, "


async def test_log_comes_through_the_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the environment, with its password."""
    heads = []

    def answer(head: str) -> bytes:
        heads.append(head)
        return OK + FIRST + END

    async with serving(answer) as url:
        monkeypatch.setenv("http_proxy", url.replace("//", "//user:pass@"))
        async with opened(tmp_path, "http://api.invalid") as kube:
            assert await read(kube) == b"one, "
    (head,) = heads
    assert head.startswith("GET http://api.invalid/api/v1/")
    assert "Proxy-Authorization: Basic dXNlcjpwYXNz\r\n" in head
