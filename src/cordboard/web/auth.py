"""The control secret, which authenticates callers at a gateway and a runner.

Pure ASGI middleware, so that a caller without the secret is refused before its body is read.
"""

import hmac
import math
import time
from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import Counter
from starlette.types import ASGIApp, Receive, Scope, Send

from cordboard.context import EMPTY, bound_context
from cordboard.contract.credential import runner_credential
from cordboard.contract.errors import (
    CordboardError,
    NotReadyError,
    SettingsError,
    UnauthorizedError,
)
from cordboard.emit import get_logger
from cordboard.environment import CONTROL_SECRET, SCRAPE_SECRET
from cordboard.secret_files import LENGTH_MIN
from cordboard.web.problems import problem
from cordboard.web.proxies import client_address
from cordboard.web.rate_limits import Buckets, Sampler, TooManyRequestsError, take_all
from cordboard.web.session_middleware import logged_path

HEADER: Final = "X-Bot-Secret"
# Probes of a cluster send no secret. These paths show strangers only whether the process works.
OPEN_PATHS: Final = ("/healthz", "/readyz")
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")

AUTHENTICATED: Final = "cordboard.authenticated"
"""Key of an ASGI scope: whether a request to an open path carried the secret all the same."""

WRONG_PER_MINUTE: Final = 60
"""Wrong secrets per minute from one address. A monitoring system with an old secret sends four."""

refusals = Counter(
    "cordboard_auth_refused",
    "Requests without the control secret, or with a wrong one.",
    ["reason"],
)
# A series that begins at 1 has not increased for Prometheus: without zeros, the alarms would miss the first one.
for _reason in ("missing", "wrong", "throttled"):
    refusals.labels(_reason)
log = get_logger("auth")

METRICS_PATH: Final = "/metrics"
"""The only path to which the scrape secret gives access."""

Secrets = Callable[[], tuple[str, ...]]
"""A function that returns the current secrets: settings reload a secret when its file changes."""


def no_secrets() -> tuple[str, ...]:
    """Return no secret."""
    return ()


def runner_secrets(secrets: tuple[str, ...], url: str) -> tuple[str, ...]:
    """Return the secrets that a runner accepts: the control secrets and the credentials for its URL.

    Args:
        secrets: The control secrets.
        url: The URL under which the runner is registered.
    """
    return (*secrets, *(runner_credential(secret, url) for secret in secrets))


def is_local(host: str) -> bool:
    """Return whether only this machine can reach a server that listens on `host`."""
    return host in LOOPBACK


def require_secret_beyond_loopback(
    host: str, secrets: tuple[str, ...], scrape_secrets: tuple[str, ...] = ()
) -> None:
    """Refuse to listen beyond loopback without a secret that cannot be guessed.

    Args:
        host: The address to listen on.
        secrets: The control secrets.
        scrape_secrets: The secrets that give access to the metrics.

    Raises:
        SettingsError: `host` is not loopback, and there is no control secret or a short secret.
    """
    if is_local(host):
        return
    if not secrets:
        raise SettingsError(
            f"--host {host}: a server without a control secret listens on loopback only.",
            hint="Set BOT_CONTROL_SHARED_SECRET (or BOT_CONTROL_SHARED_SECRET_FILE).",
        )
    refuse_short(host, CONTROL_SECRET, secrets)
    refuse_short(host, SCRAPE_SECRET, scrape_secrets)


def refuse_short(host: str, name: str, secrets: Iterable[str], *, origin: str = "--host") -> None:
    """Refuse secrets that are short enough to guess, if other machines can reach the server.

    Args:
        host: The address to listen on, or the public host of a server behind a proxy or a tunnel.
        name: The environment variable of the secrets, for the message.
        secrets: The secret and its predecessor.
        origin: The option or setting that names the host, for the message.

    Raises:
        SettingsError: `host` is not loopback, and a secret has fewer than 16 characters.
    """
    shortest = min((len(value) for value in secrets), default=LENGTH_MIN)
    if shortest < LENGTH_MIN and not is_local(host):
        raise SettingsError(
            f"{origin} {host}: {name} or its form with _PREV has {shortest} characters; a server beyond "
            f"loopback needs {LENGTH_MIN} or more.",
            hint="Generate one with `openssl rand -base64 24`.",
        )


class ControlSecretMiddleware:
    """Passes the requests that carry the current or the previous secret.

    Args:
        app: The wrapped application.
        secrets: Returns the current secrets.
        required: Whether requests need a secret. This is decided once, at the start: a server that
            started with a secret never serves without one, whatever happens to its file.
        scrape_secrets: Returns the secrets that give access to the metrics alone.
        open_paths: Paths that need no secret.
        wrong_per_minute: How many wrong secrets one address may send per minute.

    Attributes:
        wrong_secrets: Counts the wrong secrets of each address.
    """

    def __init__(
        self,
        app: ASGIApp,
        secrets: Secrets,
        *,
        required: bool,
        scrape_secrets: Secrets = no_secrets,
        open_paths: Iterable[str] = OPEN_PATHS,
        wrong_per_minute: int = WRONG_PER_MINUTE,
    ) -> None:
        self._app = app
        self._secrets = secrets
        self._required = required
        self._scrape_secrets = scrape_secrets
        self._open_paths = frozenset(open_paths)
        self.wrong_secrets = Buckets(wrong_per_minute / 60, wrong_per_minute)
        self._sampler = Sampler()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan" or not self._required:
            await self._app(scope, receive, send)
        elif self._is_open(scope):
            scope[AUTHENTICATED] = self._has_secret(scope)
            # The caller has not shown that it may write into the session that it names.
            with bound_context(EMPTY):
                await self._app(scope, receive, send)
        elif self._is_scrape(scope):
            with bound_context(EMPTY):
                await self._app(scope, receive, send)
        elif error := self._refusal(scope):
            await refuse(error, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_open(self, scope: Scope) -> bool:
        return scope["type"] == "http" and scope["path"] in self._open_paths

    def _is_scrape(self, scope: Scope) -> bool:
        """Return whether a monitoring system reads the metrics with a secret of its own."""
        if scope["type"] != "http" or scope["path"] != METRICS_PATH:
            return False
        return find_secret(scope, _current(self._scrape_secrets)) is not None

    def _has_secret(self, scope: Scope) -> bool:
        return find_secret(scope, _current(self._secrets)) is not None

    def _refusal(self, scope: Scope) -> CordboardError | None:
        if not _current(self._secrets):
            return NotReadyError(
                "This server has lost its control secret and refuses all callers.",
                hint="Restore BOT_CONTROL_SHARED_SECRET, or the file that contains it.",
            )
        if self._has_secret(scope):
            return None
        # A request without a secret is not a guess, so it is not counted.
        given = given_secret(scope)
        throttled = self._throttled(scope) if given else None
        self._log_refusal(scope, "throttled" if throttled else "wrong" if given else "missing")
        return throttled or UnauthorizedError(
            "The control secret is missing or wrong.",
            hint="Send Authorization: Bearer SECRET, or X-Bot-Secret: SECRET.",
        )

    def _throttled(self, scope: Scope) -> CordboardError | None:
        """Count a wrong secret and return an error if its address has sent too many.

        The right secret is accepted even then. Callers may share an address with somebody who guesses,
        and a lock-out, which a stranger could cause, protects nothing: secrets are too long to guess.
        """
        now = time.monotonic()
        wait_s = take_all([(self.wrong_secrets.of(client_address(scope), now), 1)], now)
        if wait_s == 0:
            return None
        return TooManyRequestsError(
            "This address has sent too many wrong secrets.", retry_after_s=math.ceil(wait_s)
        )

    def _log_refusal(self, scope: Scope, reason: str) -> None:
        refusals.labels(reason).inc()
        suppressed = self._sampler.admit()
        if suppressed is None:
            return
        peer = (scope.get("client") or (None,))[0]
        with bound_context(EMPTY):
            log.warning(
                "A caller was refused",
                event="auth.refused",
                reason=reason,
                peer=peer,
                path=logged_path(scope),
                suppressed=suppressed,
            )


def _current(secrets: Secrets) -> tuple[str, ...]:
    """Return the current secrets; none if their file is unusable, so that everybody is refused."""
    try:
        return secrets()
    except SettingsError:
        return ()


async def refuse(error: CordboardError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request with an error; close a WebSocket before it opens.

    Nothing that the request claims is bound meanwhile, so no line of the refusal gets into a session.

    Args:
        error: The error.
        scope: The ASGI scope of the connection.
        receive: The ASGI function that receives its messages.
        send: The ASGI function that sends messages.
    """
    with bound_context(EMPTY):
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": error.code})
        else:
            await problem(error)(scope, receive, send)


def find_secret(scope: Scope, secrets: Iterable[str]) -> str | None:
    """Return the secret that a request carries.

    Args:
        scope: The ASGI scope of the request.
        secrets: The secrets to compare with, in constant time.

    Returns:
        None if the request carries none of them.
    """
    given = given_secret(scope)
    # A list, not a generator: all secrets are compared, so that the time does not reveal which matched.
    matches = [one for one in secrets if hmac.compare_digest(given, _encoded(one))]
    return matches[0] if matches else None


def given_secret(scope: Scope) -> bytes:
    """Return what a request carries as a secret: the bearer credential, or ``X-Bot-Secret``; empty without.

    Args:
        scope: The ASGI scope of the request.
    """
    headers: dict[bytes, bytes] = dict(scope["headers"])
    scheme, _, credentials = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return credentials.strip()
    return headers.get(HEADER.lower().encode(), b"")


def _encoded(secret: str) -> bytes:
    # os.environ decodes with surrogateescape; this restores the bytes that the caller sends.
    return secret.encode("utf-8", "surrogateescape")
