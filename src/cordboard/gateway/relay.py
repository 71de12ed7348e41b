"""Forwards a caller's request to the runner that holds the session."""

from http import HTTPStatus
from typing import Final

from cordboard.contract.errors import UpstreamError, UpstreamTimeoutError
from cordboard.emit import get_logger
from cordboard.web.http_client import NoAnswerError, Reply
from cordboard.web.runner_client import RunnerClient

# The bot gathers its ICE candidates before it answers an offer. Below the 20 s for which the interface
# waits, so that a caller receives this error and not one about the gateway.
SIGNALLING_TIMEOUT_S: Final = 15.0
_JSON: Final = ("application/json", "application/problem+json")
# Not passed on: to the caller a 401 would mean that its own secret is wrong.
_AUTHENTICATION_FAILED: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
# Not passed on either: a caller would follow them with its secret, to an address from Redis.
_REDIRECTS: Final = range(HTTPStatus.MULTIPLE_CHOICES, HTTPStatus.BAD_REQUEST)

log = get_logger("gateway")


class Relay:
    """Forwards requests to runners. Its error messages are the gateway's own and contain no address.

    Args:
        runners: Sends the requests.
    """

    def __init__(self, runners: RunnerClient) -> None:
        self._runners = runners

    async def ask(
        self,
        method: str,
        base: str,
        path: str,
        body: bytes | None = None,
        *,
        timeout_s: float = SIGNALLING_TIMEOUT_S,
    ) -> Reply:
        """Return the runner's answer.

        Args:
            method: The HTTP method.
            base: The runner's base URL, from the session record.
            path: The path at the runner, with quoted segments.
            body: A JSON body.
            timeout_s: Seconds until the complete answer must have arrived.

        Raises:
            UpstreamTimeoutError: The runner did not answer in time.
            UpstreamError: The runner cannot be reached, or the answer is not that of a runner.
        """
        try:
            reply = await self._runners.ask(method, base, path, body, timeout_s=timeout_s)
        except NoAnswerError as error:
            if error.failure == "timeout":
                raise UpstreamTimeoutError(
                    f"The runner that holds the session did not answer within {timeout_s:g} s."
                ) from error
            # The address is for operators, so only the log has it.
            log.warning("A runner cannot be reached", runner_url=base, reason=str(error))
            raise UpstreamError("The runner that holds the session cannot be reached.") from error
        if reply.status in _AUTHENTICATION_FAILED:
            raise UpstreamError(
                "The runner that holds the session rejected the gateway's credential.",
                hint="All components need the same BOT_CONTROL_SHARED_SECRET.",
            )
        if reply.media_type not in _JSON or reply.status in _REDIRECTS:
            raise UpstreamError("The answer is not that of a runner.")
        return reply
