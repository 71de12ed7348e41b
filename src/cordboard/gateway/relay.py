"""Asking the runner that holds a session, on behalf of a caller."""

from collections.abc import Callable, Mapping
from typing import Final

import aiohttp

from cordboard.context import current
from cordboard.context.carrier import inject_headers
from cordboard.contract.errors import UpstreamError, UpstreamTimeoutError

SIGNALLING_TIMEOUT_S: Final = 15.0


class Relay:
    """HTTP to runners, authenticated with the control secret and carrying the session's id.

    Args:
        client: The connections.
        headers: Gives the authentication as it is now.
    """

    def __init__(
        self, client: aiohttp.ClientSession, headers: Callable[[], Mapping[str, str]]
    ) -> None:
        self._client = client
        self._headers = headers

    async def ask(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        *,
        timeout_s: float = SIGNALLING_TIMEOUT_S,
    ) -> tuple[int, bytes, str]:
        """Return status, body and media type of the runner's answer.

        Raises:
            UpstreamTimeoutError: It did not answer in time.
            UpstreamError: It cannot be reached.
        """
        headers = {**self._headers(), "Content-Type": "application/json"}
        inject_headers(current(), headers)
        try:
            async with self._client.request(
                method,
                url,
                data=body,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=timeout_s),
            ) as answer:
                return answer.status, await answer.read(), answer.content_type
        except TimeoutError as error:
            raise UpstreamTimeoutError(
                f"The runner that holds the session did not answer within {timeout_s:g} s."
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamError(
                f"The runner that holds the session cannot be reached: {error}."
            ) from error
