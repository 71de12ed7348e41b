"""Calls to a runner, at an address from Redis."""

from collections.abc import Callable
from typing import Final, NamedTuple
from urllib.parse import quote

import aiohttp
from yarl import URL

from cordboard.context import current
from cordboard.context.carrier import inject_headers
from cordboard.contract.credential import runner_credential
from cordboard.web.tls import client_context

ANSWER_MAX_BYTES: Final = 256 * 1024
"""The largest answer is that to a WebRTC offer, which has about 10 KB."""

_CHUNK_BYTES: Final = 64 * 1024

Failures: Final = (TimeoutError, aiohttp.ClientError, OSError)
"""What a call may raise."""


def runner_session(ca: str | None) -> aiohttp.ClientSession:
    """Return the connections to runners.

    Args:
        ca: The file of certificate authorities for them, as in ``tls_ca``.
    """
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=client_context(ca)))


class Reply(NamedTuple):
    """What a runner answered."""

    status: int
    content: bytes
    media_type: str


class TooLongError(aiohttp.ClientError):
    """The answer is longer than any answer of a runner."""


class RunnerClient:
    """HTTP to runners. The control secret itself is never sent; no redirect is followed.

    Args:
        client: The connections.
        secrets: Gives the control secrets as they are now.
    """

    def __init__(
        self, client: aiohttp.ClientSession, secrets: Callable[[], tuple[str, ...]]
    ) -> None:
        self._client = client
        self._secrets = secrets

    async def ask(
        self, method: str, base: str, path: str, body: bytes | None = None, *, timeout_s: float
    ) -> Reply:
        """Return the answer of the runner at ``base``, whatever its status.

        Args:
            method: HTTP's.
            base: The runner's base URL, as it registered it.
            path: What to ask, with quoted parts.
            body: JSON.
            timeout_s: Seconds until the whole answer must be there.

        Raises:
            TimeoutError: It did not answer in time.
            aiohttp.ClientError: It cannot be reached, the address is none, the answer is too long.
            OSError: It cannot be reached.
        """
        async with self._client.request(
            method,
            _url(base, path),
            data=body,
            headers=self._headers(base),
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            allow_redirects=False,
        ) as answer:
            return Reply(answer.status, await _content(answer), answer.content_type)

    def _headers(self, base: str) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if secrets := self._secrets():
            headers["Authorization"] = f"Bearer {runner_credential(secrets[0], base)}"
        inject_headers(current(), headers)
        return headers


def session_path(session_id: str, call: str = "") -> str:
    """Return the path of a session at a runner, or of a call of it."""
    path = f"/sessions/{quote(session_id, safe='')}"
    return f"{path}/{call}" if call else path


def _url(base: str, path: str) -> URL:
    """Return the URL as it was written: the credential is for exactly this URL."""
    try:
        url = URL(base + path, encoded=True)
        fits = url.scheme in {"http", "https"} and url.host and url.raw_user is None
    except ValueError:
        fits = None
    if not fits:
        raise aiohttp.InvalidURL(base, "not an http or https URL of a runner")
    return url


async def _content(answer: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
        content += chunk
        if len(content) > ANSWER_MAX_BYTES:
            raise TooLongError(f"the answer is over {ANSWER_MAX_BYTES} bytes")
    return bytes(content)
