"""The control secret: who may tell a gateway or a runner what to do.

Pure ASGI, so that a caller without the secret is refused before its body is read.
"""

import hmac
import math
import time
from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import Counter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cordboard.context import EMPTY, bound_context
from cordboard.contract.credential import runner_credential
from cordboard.contract.errors import (
    BodyTooLargeError,
    CordboardError,
    NotReadyError,
    SettingsError,
    UnauthorizedError,
)
from cordboard.emit import get_logger
from cordboard.secret_files import LENGTH_MIN
from cordboard.web.problems import problem
from cordboard.web.proxies import client_address
from cordboard.web.rate_limits import Buckets, Sampler, TooManyRequestsError, take_all

HEADER: Final = "X-Bot-Secret"
BODY_MAX_BYTES: Final = 64 * 1024
OPEN_PATHS: Final = ("/healthz", "/readyz")
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")

PROVEN: Final = "cordboard.proven"
"""Key of a scope: whether a request to an open path had the secret nevertheless."""

WRONG_PER_MINUTE: Final = 60
"""Wrong secrets of one address in a minute; a monitor with an old one sends four."""

refusals = Counter(
    "cordboard_auth_refused",
    "Requests without the control secret, or with a wrong one.",
    ["reason"],
)
log = get_logger("auth")

Secrets = Callable[[], tuple[str, ...]]


def authorization_headers(secrets: tuple[str, ...]) -> dict[str, str]:
    """Return the headers with which an interface authenticates at its gateway."""
    return {"Authorization": f"Bearer {secrets[0]}"} if secrets else {}


def runner_secrets(secrets: tuple[str, ...], url: str) -> tuple[str, ...]:
    """Return what the runner at ``url`` accepts: its own credentials, or a control secret."""
    return (*secrets, *(runner_credential(secret, url) for secret in secrets))


def is_local(host: str) -> bool:
    """Return whether a server that listens on ``host`` is reachable from this machine only."""
    return host in LOOPBACK


def require_secret_beyond_loopback(host: str, secrets: tuple[str, ...]) -> None:
    """Refuse to listen beyond loopback without a secret, or with one that can be guessed.

    Raises:
        SettingsError: ``host`` is not loopback, and there is no secret or a short one.
    """
    if is_local(host):
        return
    if not secrets:
        raise SettingsError(
            f"--host {host}: without a control secret this listens on loopback only.",
            hint="Set BOT_CONTROL_SHARED_SECRET (or BOT_CONTROL_SHARED_SECRET_FILE).",
        )
    refuse_short(host, "BOT_CONTROL_SHARED_SECRET", secrets)


def refuse_short(host: str, name: str, secrets: Iterable[str]) -> None:
    """Refuse secrets that can be guessed if others can reach this server.

    Raises:
        SettingsError: ``host`` is not loopback, and a secret is shorter than 16 characters.
    """
    shortest = min((len(value) for value in secrets), default=LENGTH_MIN)
    if shortest < LENGTH_MIN and not is_local(host):
        raise SettingsError(
            f"--host {host}: {name} or its _PREV has {shortest} characters; beyond loopback a secret "
            f"has {LENGTH_MIN} or more.",
            hint="Make one with `openssl rand -base64 24`.",
        )


class ControlSecretMiddleware:
    """Lets a request through when it carries the current or the previous secret.

    Args:
        app: The application behind it.
        secrets: Gives the secrets as they are now.
        required: Whether a secret is needed. It is decided once, at the start: a server that
            started with a secret never serves without one later, whatever happens to the secret.
        open_paths: Paths that anybody may request.
    """

    def __init__(
        self,
        app: ASGIApp,
        secrets: Secrets,
        *,
        required: bool,
        open_paths: Iterable[str] = OPEN_PATHS,
        wrong_per_minute: int = WRONG_PER_MINUTE,
    ) -> None:
        self._app = app
        self._secrets = secrets
        self._required = required
        self._open = frozenset(open_paths)
        self._wrong = Buckets(wrong_per_minute / 60, wrong_per_minute)
        self._sampler = Sampler()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan" or not self._required:
            await self._app(scope, receive, send)
        elif self._is_open(scope):
            scope[PROVEN] = self._is_right(scope)
            with bound_context(EMPTY):  # the caller has not shown that it may use the session
                await self._app(scope, receive, send)
        elif error := self._refusal(scope):
            await refuse(error, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_open(self, scope: Scope) -> bool:
        return scope["type"] == "http" and scope["path"] in self._open

    def _is_right(self, scope: Scope) -> bool:
        given = _given(scope)
        # Every comparison is made, so that the time does not reveal which one failed.
        return sum(hmac.compare_digest(given, _bytes(secret)) for secret in self._known()) > 0

    def _known(self) -> tuple[str, ...]:
        try:
            return self._secrets()
        except SettingsError:
            return ()

    def _refusal(self, scope: Scope) -> CordboardError | None:
        if not self._known():
            return NotReadyError(
                "This server has no control secret, and therefore refuses all callers."
            )
        if self._is_right(scope):
            return None
        given = _given(scope)
        error = self._throttled(scope) if given else None
        self._tell(scope, "throttled" if error else "wrong" if given else "missing")
        return error or UnauthorizedError(
            "The control secret is missing or wrong.",
            hint="Send Authorization: Bearer SECRET, or X-Bot-Secret: SECRET.",
        )

    def _throttled(self, scope: Scope) -> CordboardError | None:
        """Count a wrong secret.

        A right one is accepted nevertheless: callers may share an address with somebody who guesses, and
        a secret that cannot be guessed needs no lock-out, which a stranger could cause.
        """
        now = time.monotonic()
        wait_s = take_all([(self._wrong.of(client_address(scope), now), 1)], now)
        if wait_s == 0:
            return None
        return TooManyRequestsError(
            "Too many wrong secrets came from this address.", retry_after_s=math.ceil(wait_s)
        )

    def _tell(self, scope: Scope, reason: str) -> None:
        refusals.labels(reason).inc()
        held = self._sampler.admit()
        if held is None:
            return
        peer = (scope.get("client") or (None,))[0]
        with bound_context(EMPTY):
            log.warning(
                "A caller was refused",
                event="auth.refused",
                reason=reason,
                peer=peer,
                path=scope["path"],
                not_told=held,
            )


async def refuse(error: CordboardError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request with an error; a WebSocket is closed before it is open.

    Nothing that the request claims is bound while that is done.
    """
    with bound_context(EMPTY):
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": error.code})
        else:
            await problem(error)(scope, receive, send)


def _given(scope: Scope) -> bytes:
    headers: dict[bytes, bytes] = dict(scope["headers"])
    scheme, _, credentials = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return credentials.strip()
    return headers.get(HEADER.lower().encode(), b"")


def _bytes(secret: str) -> bytes:
    return secret.encode("utf-8", "surrogateescape")  # as os.environ has it


class BodyLimitMiddleware:
    """Refuses bodies over a limit: by their declared length at once, else while they are read.

    Args:
        app: The application behind it.
        limit_bytes: The most that is read.
    """

    def __init__(self, app: ASGIApp, limit_bytes: int = BODY_MAX_BYTES) -> None:
        self._app = app
        self._limit = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if _declared_length(scope) > self._limit:
            await self._refuse(scope, receive, send)
            return
        read = 0
        started = False

        async def limited() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._limit:
                raise _TooLongError
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, limited, watched)
        except _TooLongError:
            if not started:
                await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = BodyTooLargeError(f"The body is over {self._limit} bytes.")
        await problem(error)(scope, receive, send)


class _TooLongError(BaseException):
    """Passes through the application's own handlers, which catch Exception."""


def _declared_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0
