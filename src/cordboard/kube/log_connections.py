"""Connections for the logs of containers, by aiohttp.

lightkube's client decrypts, decodes and hands on each piece of some 10 KB by itself, in Python. aiohttp decodes in C
whatever has arrived meanwhile. Of 100 logs of 1 MB, 16 at a time, it takes 0.4 s of a processor instead of 0.9 s, and
on a busy machine 1.4 s instead of 3 to 7 s, as each piece waits for its turn.
"""

import contextlib
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from http import HTTPStatus
from typing import Final

import aiohttp
import httpx2
from yarl import URL

# Bytes of a log that wait for their reader: 16 logs at a time are 8 MB.
_BUFFER_BYTES: Final = 256 * 1024


class LogConnections:
    """Connections to the API of one cluster, made when they are first used.

    Args:
        context: The certificates of server and user.
        auth: Adds the user's login to a request; None without one.
        proxy: The URL of a proxy; None without one.
    """

    def __init__(
        self, context: ssl.SSLContext, auth: httpx2.Auth | None, proxy: str | None
    ) -> None:
        self._context = context
        self._auth = auth or httpx2.Auth()
        self._proxy = proxy
        self._session: aiohttp.ClientSession | None = None

    @contextlib.asynccontextmanager
    async def get(
        self, request: httpx2.Request, *, connect_s: float, silence_s: float
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request that lightkube has prepared; yield the answer, whatever its status.

        Args:
            request: The request.
            connect_s: Seconds for the connection.
            silence_s: Seconds that the server may be silent.

        Raises:
            aiohttp.ClientError, TimeoutError: There is no answer.
        """
        limits = aiohttp.ClientTimeout(total=None, sock_connect=connect_s, sock_read=silence_s)
        async with contextlib.aclosing(self._auth.async_auth_flow(request)) as login:
            prepared = await anext(login)
            while True:
                async with self._open().get(
                    URL(str(prepared.url), encoded=True),
                    headers={**prepared.headers, "Accept-Encoding": "identity"},
                    timeout=limits,
                    proxy=self._proxy,
                    allow_redirects=False,
                ) as answer:
                    again = await _next_request(login, answer)
                    if again is None:
                        yield answer
                        return
                    prepared = again

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            # Each followed log has its own connection, so their number is not limited here.
            connector = aiohttp.TCPConnector(limit=0, ssl=self._context)
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                read_bufsize=_BUFFER_BYTES,
            )
        return self._session


async def _next_request(
    login: AsyncGenerator[httpx2.Request, httpx2.Response], answer: aiohttp.ClientResponse
) -> httpx2.Request | None:
    """Return the request with a new login after one that was refused, if there is one."""
    if answer.status != HTTPStatus.UNAUTHORIZED:
        return None
    try:
        return await login.asend(httpx2.Response(answer.status))
    except StopAsyncIteration:
        return None
