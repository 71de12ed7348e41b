"""Asking the runner that holds a session, on behalf of a caller."""

from typing import Final

from cordboard.contract.errors import UpstreamError, UpstreamTimeoutError
from cordboard.emit import get_logger
from cordboard.web.runners import Failures, Reply, RunnerClient

SIGNALLING_TIMEOUT_S: Final = 15.0
_JSON: Final = ("application/json", "application/problem+json")
_NOT_LET_IN: Final = (401, 403)

log = get_logger("gateway")


class Relay:
    """Asks runners; the text of a failure is the gateway's own, and contains no address.

    Args:
        runners: Calls them.
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

        Raises:
            UpstreamTimeoutError: It did not answer in time.
            UpstreamError: It cannot be reached, or its answer is not that of a runner.
        """
        try:
            reply = await self._runners.ask(method, base, path, body, timeout_s=timeout_s)
        except TimeoutError as error:
            raise UpstreamTimeoutError(
                f"The runner that holds the session did not answer within {timeout_s:g} s."
            ) from error
        except Failures as error:
            log.warning("A runner cannot be reached", runner_url=base, error=error)
            raise UpstreamError("The runner that holds the session cannot be reached.") from error
        if reply.status in _NOT_LET_IN:
            raise UpstreamError(
                "The runner that holds the session does not know this gateway.",
                hint="All parts need the same BOT_CONTROL_SHARED_SECRET.",
            )
        if reply.media_type not in _JSON or 300 <= reply.status < 400:  # noqa: PLR2004 - redirects
            raise UpstreamError("The answer is not that of a runner.")
        return reply
