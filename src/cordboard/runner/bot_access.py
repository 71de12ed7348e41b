"""Who may send requests to a bot process: callers with the credential of its session and epoch."""

import hmac
from collections.abc import Callable, Collection
from typing import Final

from cordboard.context import EMPTY, bound_context
from cordboard.contract.credential import bot_credential
from cordboard.contract.errors import (
    ConflictError,
    CordboardError,
    NotFoundError,
    NotReadyError,
    SettingsError,
    StaleEpochError,
    UnauthorizedError,
)
from cordboard.contract.ids import is_session_id
from cordboard.runner.bot_request import BotRequest
from cordboard.runner.bot_session import BotSession
from cordboard.runner.registry import Registry
from cordboard.web.auth import Secrets, log, refusals
from cordboard.web.host_check import UnknownHostError, is_known_host
from cordboard.web.rate_limits import Sampler

HINT: Final = "Send Authorization: Bearer CREDENTIAL and X-Session-Epoch: EPOCH."


class BotAccess:
    """Finds the session of a request to a bot process, if the caller may reach it.

    Args:
        registry: The sessions of this runner.
        secrets: Returns the current control secrets.
        required: Whether a credential is necessary, decided once as for the other routes.
        local_hosts: The names of this machine that requests may ask for; None if the runner listens beyond
            loopback, where every name is accepted.
    """

    def __init__(
        self,
        registry: Registry,
        secrets: Secrets,
        *,
        required: bool,
        local_hosts: Collection[str] | None = None,
    ) -> None:
        self._registry = registry
        self._secrets = secrets
        self._required = required
        self._local_hosts = local_hosts
        self._sampler = Sampler()

    def session_of(self, request: BotRequest, peer: str | None) -> BotSession:
        """Return the session whose bot process gets `request`.

        Args:
            request: The request.
            peer: The address of the caller, for the log.

        Raises:
            UnknownHostError: On loopback, the request names another host.
            UnauthorizedError: The credential is missing or wrong.
            NotReadyError: The control secret is lost.
            NotFoundError: This runner does not have the session.
            StaleEpochError: The bot has another epoch.
            ConflictError: The bot does not run.
        """
        try:
            self._check_host(request)
            self._check_credential(request)
        except CordboardError as error:
            self._log_refusal(error, peer)
            raise
        return self._running_session(request)

    def _check_host(self, request: BotRequest) -> None:
        if self._local_hosts is not None and not is_known_host(request.host, self._local_hosts):
            raise UnknownHostError(
                "This server listens on loopback only and does not have the host name of this request."
            )

    def _check_credential(self, request: BotRequest) -> None:
        # Without a secret the header is still necessary: a page in a browser cannot set it for a WebSocket.
        if request.epoch is None:
            raise UnauthorizedError("The epoch is missing or malformed.", hint=HINT)
        if not self._required:
            return
        secrets = _current(self._secrets)
        if not secrets:
            raise NotReadyError("This runner has lost its control secret and refuses all callers.")
        # A list, not a generator: all are compared, so that the time does not reveal which one matched.
        matches = [
            hmac.compare_digest(
                request.credential, bot_credential(one, request.session_id, request.epoch).encode()
            )
            for one in secrets
        ]
        if not any(matches):
            raise UnauthorizedError(
                "The credential for this bot process is missing or wrong.", hint=HINT
            )

    def _running_session(self, request: BotRequest) -> BotSession:
        if not is_session_id(request.session_id):
            raise NotFoundError("There is no such session.")
        session = self._registry.get(request.session_id)
        extra: dict[str, object] = {"sessionId": request.session_id}
        if session.launch.epoch != request.epoch:
            raise StaleEpochError(
                f"The bot of this session has epoch {session.launch.epoch}, not {request.epoch}.",
                extra=extra,
            )
        # The store publishes that a session runs just before this runner notes it, so "starting" must do: the
        # bot process takes the connection when it may run.
        if session.status not in {"starting", "running"} or not session.pid:
            raise ConflictError(f"The bot of this session is {session.status}.", extra=extra)
        return session

    def _log_refusal(self, error: CordboardError, peer: str | None) -> None:
        refusals.labels("bot").inc()
        suppressed = self._sampler.admit()
        if suppressed is not None:
            with bound_context(EMPTY):
                log.warning(
                    "A request to a bot process was refused",
                    event="auth.refused",
                    reason=error.code,
                    peer=peer,
                    suppressed=suppressed,
                )


def _current(secrets: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
    try:
        return secrets()
    except SettingsError:
        return ()
