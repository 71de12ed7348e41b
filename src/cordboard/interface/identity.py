"""Who sent a request: from the login's cookie, or from the proxy that has authenticated the person.

Any other claim of an identity is removed from a request before anything reads it; so is a
session id that belongs to somebody else.
"""

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from cordboard.context import Context
from cordboard.context.carrier import HEADER_BAGGAGE, HEADER_SESSION_ID, OWN_HEADERS, inject_headers
from cordboard.contract.errors import InvalidValueError, SettingsError, UnauthorizedError
from cordboard.contract.ids import is_session_id
from cordboard.emit import get_logger
from cordboard.interface.login import ForgedError, LoginCookies, Person, ValidLogin, check_name
from cordboard.interface.origin import Origin, is_secure
from cordboard.secret_files import LENGTH_MIN
from cordboard.settings import Settings
from cordboard.web.proxies import FROM_TRUSTED_PROXY
from cordboard.web.rate_limits import Sampler
from cordboard.web.session_middleware import CLAIMED

SECRET_HEADER: Final = "X-Login-Secret"  # noqa: S105 - a header's name
_SCOPE_KEY: Final = "cordboard.person"
_KNOWN_KEY: Final = "cordboard.login"
_SESSION: Final = HEADER_SESSION_ID.lower().encode()
_TRACEPARENT: Final = b"traceparent"
# The headers of an identity that a browser must not claim; its trace is only correlation.
_CLAIMS: Final = frozenset(
    name.lower().encode() for name in (*OWN_HEADERS, HEADER_BAGGAGE) if name != "traceparent"
)

log = get_logger("login")
MayBind = Callable[[str, Person], Awaitable[bool]]


class Identity(Protocol):
    """A way to identify who sent a request."""

    by_name: bool
    """Whether people sign in and out on a page of the interface."""

    def person(self, scope: Scope) -> Person | None:
        """Return who sent a request; None if the person is not known."""


class ByName:
    """Identifies people by the cookie of a login by name.

    Args:
        login: Signs and reads the cookies.
        origin: The public address, where one is set.
    """

    by_name = True

    def __init__(self, login: LoginCookies, origin: Origin | None) -> None:
        self.login = login
        self._origin = origin
        self._forged = Sampler()

    def person(self, scope: Scope) -> Person | None:
        """Return whose cookie a request carries."""
        secure = is_secure(scope, self._origin)
        try:
            known = self.login.known(HTTPConnection(scope).cookies, secure=secure)
        except ForgedError:
            _tell(self._forged, scope, "a login cookie that this server did not sign")
            return None
        scope[_KNOWN_KEY] = known
        return known.person if known else None


class ByHeader:
    """Takes people's names from a proxy that has authenticated them.

    Anybody can send a header. It is trusted if the request has the shared secret or, if there is
    no such secret, if one of the trusted proxies sent it.

    Args:
        settings: The header's name, the proxies and the secret.

    Raises:
        SettingsError: There is neither a secret nor a list of proxies, or the secret is short.
    """

    by_name = False

    def __init__(self, settings: Settings) -> None:
        secret = settings.interface_login_secret
        if not secret and not settings.trusted_proxies:
            raise SettingsError(
                "interface_login is header, and nothing says whose header is trusted.",
                hint="List your proxy in CORDBOARD_TRUSTED_PROXIES, or set "
                f"CORDBOARD_INTERFACE_LOGIN_SECRET and let it send {SECRET_HEADER}.",
            )
        if secret and len(secret) < LENGTH_MIN:
            raise SettingsError(
                f"CORDBOARD_INTERFACE_LOGIN_SECRET has {len(secret)} characters; it needs "
                f"{LENGTH_MIN} or more.",
                hint="Make one with `openssl rand -base64 24`.",
            )
        self._header = settings.interface_login_header
        self._with_secret = bool(secret)
        self._secret: Callable[[], str | None] = lambda: settings.interface_login_secret
        self._refused = Sampler()

    def person(self, scope: Scope) -> Person | None:
        """Return whom the proxy names."""
        headers = Headers(scope=scope)
        said = headers.getlist(self._header)
        if not said:
            return None
        if not self._is_believed(scope, headers) or len(said) != 1:
            _tell(self._refused, scope, f"{self._header} from a sender that is not trusted")
            return None
        try:
            name = check_name(said[0].encode("latin-1").decode("utf-8"))
        except (InvalidValueError, UnicodeError):
            _tell(self._refused, scope, f"{self._header} contains no name")
            return None
        return Person(f"u-{hashlib.sha256(name.encode()).hexdigest()[:32]}", name)

    def _is_believed(self, scope: Scope, headers: Headers) -> bool:
        if not self._with_secret:
            return bool(scope.get(FROM_TRUSTED_PROXY))
        secret, given = self._secret(), headers.getlist(SECRET_HEADER)
        if not secret or len(given) != 1:
            return False
        return hmac.compare_digest(given[0].encode("latin-1"), secret.encode())


class IdentityMiddleware:
    """Replaces the identity that a request claims by that of its sender.

    Runs before the session middleware, so that every line of the request has the right user, and
    none has the session of somebody else.

    Args:
        app: The application behind it.
        identity: Identifies who sent a request.
        may_bind: Returns whether a person's request may carry a session's id.
    """

    def __init__(self, app: ASGIApp, identity: Identity, may_bind: MayBind) -> None:
        self._app = app
        self._identity = identity
        self._may_bind = may_bind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] in {"http", "websocket"}:  # there are none, and the refusal writes a line
            scope = {**scope}
            found = scope[_SCOPE_KEY] = self._identity.person(scope)
            await self._bind(scope, found)
        await self._app(scope, receive, send)

    async def _bind(self, scope: Scope, person: Person | None) -> None:
        """Keep only the headers of identity and session that the request may have."""
        claimed = [value.decode("latin-1") for name, value in scope["headers"] if name == _SESSION]
        kept = [pair for pair in scope["headers"] if pair[0] not in _CLAIMS]
        headers: dict[str, str] = {}
        context = Context()
        if person is not None:
            context = Context(user_id=person.user_id, user_name=person.name)
        if claimed and is_session_id(claimed[-1]):
            if person is not None and await self._may_bind(claimed[-1], person):
                headers[HEADER_SESSION_ID] = claimed[-1]
            else:
                # Its trace is removed, too: lines of one trace may be attributed to one session.
                kept = [pair for pair in kept if pair[0] != _TRACEPARENT]
                scope[CLAIMED] = {"claimed_session": claimed[-1]}
        inject_headers(context, headers)
        ours = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        scope["headers"] = kept + ours


def identity_of(settings: Settings, login: LoginCookies, origin: Origin | None) -> Identity:
    """Return the way in which people are identified.

    Raises:
        SettingsError: ``interface_login`` has an unknown value.
    """
    kind = settings.interface_login or "name"
    if kind == "name":
        return ByName(login, origin)
    if kind == "header":
        return ByHeader(settings)
    if kind == "oidc":
        raise SettingsError(
            "interface_login: oidc is not supported yet.",
            hint="Put an OIDC proxy such as oauth2-proxy in front, and set it to header.",
        )
    raise SettingsError(f"interface_login: expected name or header, got {kind!r}.")


def require_login(host: str, local: bool, settings: Settings) -> None:
    """Refuse to listen beyond loopback before it is set how people sign in.

    Raises:
        SettingsError: ``host`` is not loopback, and ``interface_login`` is not set.
    """
    if not local and not settings.interface_login:
        raise SettingsError(
            f"--host {host}: it is not set how people sign in.",
            hint="Set CORDBOARD_INTERFACE_LOGIN=name to let in everybody who types a name, or "
            "=header where a proxy authenticates them.",
        )


def person_of(request: Request) -> Person | None:
    """Return who sent a request."""
    found: Person | None = request.scope.get(_SCOPE_KEY)
    return found


def renew(request: Request, response: Response) -> None:
    """Extend a login by name with a page or a join, which a person requests.

    Not with every answer: one that is under way during a sign-out would restore the login.
    """
    known: ValidLogin | None = request.scope.get(_KNOWN_KEY)
    if known is not None:
        login: LoginCookies = request.app.state.login
        login.renew(known, response, secure=is_secure(request.scope, request.app.state.origin))


def required_person(request: Request) -> Person:
    """Return who sent a request.

    Raises:
        UnauthorizedError: The person is not known.
    """
    found = person_of(request)
    if found is None:
        raise UnauthorizedError("You are not signed in.", hint="Sign in again with your name.")
    return found


def _tell(sampler: Sampler, scope: Scope, reason: str) -> None:
    """Write a warning of a refused login, unless there were many lately."""
    held = sampler.admit()
    if held is not None:
        peer = (scope.get("client") or (None,))[0]
        log.warning(
            "A login was refused", event="auth.refused", reason=reason, peer=peer, not_told=held
        )
