"""Requests to a runner, at an address from Redis.

Whoever can write to Redis chooses this address. So the control secret itself is never sent there, only a
credential that is derived for this one address and that no other server accepts.
"""

import contextlib
from collections.abc import AsyncIterator, Callable

import aiohttp
from yarl import URL

from cordboard.contract.credential import runner_credential
from cordboard.web.http_client import HttpClient, NoAnswerError, Reply


class RunnerClient:
    """Sends requests to runners.

    Args:
        http: Sends the requests.
        secrets: Returns the current control secrets, the newest first.
    """

    def __init__(self, http: HttpClient, secrets: Callable[[], tuple[str, ...]]) -> None:
        self._http = http
        self._secrets = secrets

    async def ask(
        self, method: str, base: str, path: str, body: bytes | None = None, *, timeout_s: float
    ) -> Reply:
        """Return the answer of a runner, whatever its status.

        Args:
            method: The HTTP method.
            base: The runner's base URL, as the runner registered it.
            path: The path below it, with quoted segments.
            body: A JSON body.
            timeout_s: Seconds until the complete answer must have arrived.

        Raises:
            NoAnswerError: There is no complete answer, or ``base`` is not the URL of a runner.
        """
        return await self._http.request(
            method,
            runner_url(base, path),
            body,
            credential=self._credential(base),
            timeout_s=timeout_s,
        )

    @contextlib.asynccontextmanager
    async def stream(
        self, base: str, path: str, *, connect_timeout_s: float, read_timeout_s: float
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Request an endless answer of a runner; its status and content are the caller's to read.

        Args:
            base: The runner's base URL, as the runner registered it.
            path: The path below it, with quoted segments.
            connect_timeout_s: Seconds for the connection.
            read_timeout_s: Seconds between two parts of the answer.

        Raises:
            NoAnswerError: The connection failed, now or while the caller reads, or ``base`` is not the URL of
                a runner.
        """
        async with self._http.stream(
            runner_url(base, path),
            credential=self._credential(base),
            connect_timeout_s=connect_timeout_s,
            read_timeout_s=read_timeout_s,
        ) as answer:
            yield answer

    def _credential(self, base: str) -> str | None:
        secrets = self._secrets()
        return runner_credential(secrets[0], base) if secrets else None


def runner_url(base: str, path: str) -> URL:
    """Return the URL of a request to a runner, unchanged: the credential is valid for this ``base`` alone.

    Args:
        base: The runner's base URL, as it stands in Redis.
        path: The path below it, with quoted segments.

    Raises:
        NoAnswerError: ``base`` is not an HTTP URL, or it contains a user or a password.
    """
    try:
        url = URL(base + path, encoded=True)
        is_valid = url.scheme in {"http", "https"} and url.host and url.raw_user is None
    except ValueError:
        is_valid = False
    if not is_valid:
        raise NoAnswerError(aiohttp.InvalidURL(base, "not an http or https URL of a runner"))
    return url
