"""The control secret: who may tell a gateway or a runner what to do.

Pure ASGI, so that a caller without the secret is refused before its body is read.
"""

import hmac
from collections.abc import Callable, Iterable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cordboard.contract.errors import BodyTooLargeError, SettingsError, UnauthorizedError
from cordboard.web.problems import problem

HEADER: Final = "X-Bot-Secret"
BODY_MAX_BYTES: Final = 64 * 1024
OPEN_PATHS: Final = ("/healthz", "/readyz")
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")

Secrets = Callable[[], tuple[str, ...]]


def authorization(secrets: tuple[str, ...]) -> dict[str, str]:
    """Return the headers with which our own services authenticate."""
    return {"Authorization": f"Bearer {secrets[0]}"} if secrets else {}


def require_secret_beyond_loopback(host: str, secrets: tuple[str, ...]) -> None:
    """Refuse to listen for others without a secret.

    Raises:
        SettingsError: ``host`` is not loopback, and there is no secret.
    """
    if host not in LOOPBACK and not secrets:
        raise SettingsError(
            f"--host {host}: without a control secret this listens on loopback only.",
            hint="Set BOT_CONTROL_SHARED_SECRET (or BOT_CONTROL_SHARED_SECRET_FILE).",
        )


class ControlSecretMiddleware:
    """Lets a request through when it carries the current or the previous secret.

    Args:
        app: The application behind it.
        secrets: Gives the secrets as they are now; none means that no secret is asked for.
        open_paths: Paths that anybody may ask.
    """

    def __init__(
        self, app: ASGIApp, secrets: Secrets, open_paths: Iterable[str] = OPEN_PATHS
    ) -> None:
        self._app = app
        self._secrets = secrets
        self._open = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or scope["path"] in self._open or self._may(scope):
            await self._app(scope, receive, send)
            return
        error = UnauthorizedError(
            "The control secret is missing or wrong.",
            hint="Send Authorization: Bearer SECRET, or X-Bot-Secret: SECRET.",
        )
        await problem(error)(scope, receive, send)

    def _may(self, scope: Scope) -> bool:
        secrets = self._secrets()
        if not secrets:
            return True
        given = _given(scope)
        # Every comparison is made, so that the time tells nothing of which one failed.
        return sum(hmac.compare_digest(given, secret.encode()) for secret in secrets) > 0


def _given(scope: Scope) -> bytes:
    headers: dict[bytes, bytes] = dict(scope["headers"])
    scheme, _, credentials = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return credentials.strip()
    return headers.get(HEADER.lower().encode(), b"")


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
