"""The identity of the sender of a request: from the login cookie, or from an authenticating proxy.

Other claims of an identity are removed from a request before anything reads them, and so is a session id
that belongs to another person.
"""

import hashlib
import hmac
import math
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from cordboard.context import Context
from cordboard.context.carrier import HEADER_BAGGAGE, HEADER_SESSION_ID, OWN_HEADERS, inject_headers
from cordboard.contract.errors import InvalidValueError, SettingsError
from cordboard.contract.ids import is_session_id
from cordboard.emit import get_logger
from cordboard.interface.login import ForgedError, LoginCookies, ValidLogin, check_name
from cordboard.interface.people import Person, Role, Roles, refuse_groups
from cordboard.secret_files import LENGTH_MIN
from cordboard.settings import Settings
from cordboard.web.origin import Origin, is_loopback_name, is_secure, public_origin
from cordboard.web.proxies import FROM_TRUSTED_PROXY
from cordboard.web.rate_limits import Sampler
from cordboard.web.session_middleware import CLAIMED

PROXY_CREDENTIAL_HEADER: Final = "X-Login-Secret"
PROXY_STREAM_S: Final = 600.0
"""How long a stream lasts before the proxy that authenticates people has to let its page in again."""
_PERSON: Final = "cordboard.person"  # keys of an ASGI scope
_LOGIN: Final = "cordboard.login"
_SESSION_HEADER: Final = HEADER_SESSION_ID.lower().encode()
_TRACEPARENT: Final = b"traceparent"
# Headers that a browser must not set. It may set a trace id: that correlates, and grants nothing.
_IDENTITY_HEADERS: Final = frozenset(
    name.lower().encode() for name in (*OWN_HEADERS, HEADER_BAGGAGE) if name != "traceparent"
)

log = get_logger("login")
MayBind = Callable[[str, Person], Awaitable[bool]]


class Identity(Protocol):
    """A way to identify the sender of a request.

    Attributes:
        has_login_page: Whether people sign in and out on a page of the interface.
        accepts_names: Whether everybody is signed in who types a name there.
        stream_s: How long an event stream may last; then its page asks again, as everybody does.
    """

    has_login_page: bool
    accepts_names: bool
    stream_s: float

    def person(self, scope: Scope) -> Person | None:
        """Return the sender of the request in `scope`; None if unknown."""

    def person_of_stream(self, scope: Scope, *, needs_fresh: bool) -> Person | None:
        """Return the sender of a request that is still being answered; None if no longer signed in.

        Args:
            scope: The scope of the request.
            needs_fresh: Whether a login counts that has ended by itself, and not by a sign-out.
        """


class CookieIdentity:
    """Identifies people by the cookie of their login.

    Args:
        cookies: Signs and reads the cookies.
        roles: Decides the role of each person.
        origin: The public address, if one is set.
        accepts_names: Whether people sign in by typing a name.
    """

    has_login_page = True
    stream_s = math.inf

    def __init__(
        self,
        cookies: LoginCookies,
        roles: Roles,
        origin: Origin | None,
        *,
        accepts_names: bool = True,
    ) -> None:
        self.accepts_names = accepts_names
        self._cookies = cookies
        self._roles = roles
        self._origin = origin
        self._sampler = Sampler()

    def person(self, scope: Scope) -> Person | None:
        """Return the person whose cookie the request in `scope` carries."""
        secure = is_secure(scope, self._origin)
        try:
            login = self._cookies.read(HTTPConnection(scope).cookies, secure=secure)
        except ForgedError:
            _log_refusal(self._sampler, scope, "a login cookie that this server did not sign")
            return None
        scope[_LOGIN] = login
        return None if login is None else self._person_of(login)

    def person_of_stream(self, scope: Scope, *, needs_fresh: bool) -> Person | None:
        """Return the person of the login with which a stream was opened, while it lasts."""
        login: ValidLogin | None = scope.get(_LOGIN)
        if login is None or not self._cookies.lasts(login, needs_fresh=needs_fresh):
            return None
        return self._person_of(login)

    def _person_of(self, login: ValidLogin) -> Person:
        who = login.account
        # Decided anew for each request: a changed list of operators counts from the next start.
        return Person(who.user_id, who.name, self._roles.role_of(who.account, who.groups))


class HeaderIdentity:
    """Identifies people by a header of a proxy that has authenticated them.

    Anybody can send a header. It is trusted if the request also has the shared secret or, if no such
    secret is set, if a trusted proxy sent the request.

    Args:
        settings: The headers' names, the proxies and the secret.
        roles: Decides the role of each person.

    Raises:
        SettingsError: There is neither a secret nor a list of proxies, or the secret is short.
    """

    has_login_page = False
    accepts_names = False
    stream_s = PROXY_STREAM_S

    def __init__(self, settings: Settings, roles: Roles) -> None:
        secret = settings.interface_login_secret
        if not secret and not settings.trusted_proxies:
            raise SettingsError(
                "interface_login is header, but no setting says whose header is trusted.",
                hint="List your proxy in CORDBOARD_TRUSTED_PROXIES, or set "
                f"CORDBOARD_INTERFACE_LOGIN_SECRET and let the proxy send it as "
                f"{PROXY_CREDENTIAL_HEADER}.",
            )
        if secret and len(secret) < LENGTH_MIN:
            raise SettingsError(
                f"CORDBOARD_INTERFACE_LOGIN_SECRET has {len(secret)} characters; it needs "
                f"{LENGTH_MIN} or more.",
                hint="Generate one with `openssl rand -base64 24`.",
            )
        self._settings = settings
        self._header = settings.interface_login_header
        self._name_header = settings.interface_login_name_header
        self._groups_header = settings.interface_login_groups_header
        self._roles = roles
        self._needs_secret = bool(secret)
        self._sampler = Sampler()

    def person(self, scope: Scope) -> Person | None:
        """Return the person whom the proxy names in the request of `scope`."""
        headers = Headers(scope=scope)
        values = headers.getlist(self._header)
        if not values:
            return None
        # A second value may come from the client, through a proxy that appends instead of replacing.
        if not self._is_trusted(scope, headers) or len(values) != 1:
            _log_refusal(self._sampler, scope, f"{self._header} from a sender that is not trusted")
            return None
        try:
            name = check_name(_text(values[0]))
        except (InvalidValueError, UnicodeError):
            _log_refusal(self._sampler, scope, f"{self._header} contains no name")
            return None
        user_id = f"u-{hashlib.sha256(name.encode()).hexdigest()[:32]}"
        return Person(user_id, self._shown(headers) or name, self._role(headers, name))

    def person_of_stream(self, scope: Scope, *, needs_fresh: bool) -> Person | None:  # noqa: ARG002 - the proxy decides
        """Return the person whom the proxy has named; it is asked again when the stream's time is over."""
        person: Person | None = scope.get(_PERSON)
        return person

    def _shown(self, headers: Headers) -> str | None:
        """Return the name that pages show, if the proxy sends one."""
        values = headers.getlist(self._name_header) if self._name_header else []
        try:
            return check_name(_text(values[0])) if len(values) == 1 else None
        except (InvalidValueError, UnicodeError):
            return None

    def _role(self, headers: Headers, name: str) -> Role:
        values = headers.getlist(self._groups_header)
        # Two headers: one of them may come from the client, as with the name.
        groups = values[0].split(",") if len(values) == 1 else []
        try:
            return self._roles.role_of(name, [_text(group.strip()) for group in groups])
        except UnicodeError:
            return self._roles.role_of(name)

    def _is_trusted(self, scope: Scope, headers: Headers) -> bool:
        if not self._needs_secret:
            return bool(scope.get(FROM_TRUSTED_PROXY))
        # Read anew for each request: the secret may be rotated.
        secret, given = (
            self._settings.interface_login_secret,
            headers.getlist(PROXY_CREDENTIAL_HEADER),
        )
        if not secret or len(given) != 1:
            return False
        return hmac.compare_digest(given[0].encode("latin-1"), secret.encode())


class IdentityMiddleware:
    """Replaces the identity that a request claims by that of its sender.

    It runs before the session middleware, so that every line of a request has the right user, and none
    has a session of another person.

    Args:
        app: The wrapped application.
        identity: Identifies the sender of a request.
        may_bind: Returns whether a person's request may carry a session id.
    """

    def __init__(self, app: ASGIApp, identity: Identity, may_bind: MayBind) -> None:
        self._app = app
        self._identity = identity
        self._may_bind = may_bind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        # WebSockets have no route here, but their refusal writes a line, too.
        if scope["type"] in {"http", "websocket"}:
            scope = {**scope}
            person = scope[_PERSON] = self._identity.person(scope)
            await self._replace_headers(scope, person)
        await self._app(scope, receive, send)

    async def _replace_headers(self, scope: Scope, person: Person | None) -> None:
        """Keep only the headers of identity and session that the request may have."""
        claimed = [
            value.decode("latin-1") for name, value in scope["headers"] if name == _SESSION_HEADER
        ]
        others = [pair for pair in scope["headers"] if pair[0] not in _IDENTITY_HEADERS]
        headers: dict[str, str] = {}
        context = Context()
        if person is not None:
            context = Context(user_id=person.user_id, user_name=person.name)
        if claimed and is_session_id(claimed[-1]):
            if person is not None and await self._may_bind(claimed[-1], person):
                headers[HEADER_SESSION_ID] = claimed[-1]
            else:
                # Without its trace id, too: lines of one trace may be attributed to one session.
                others = [pair for pair in others if pair[0] != _TRACEPARENT]
                scope[CLAIMED] = {"claimed_session": claimed[-1]}
        inject_headers(context, headers)
        verified = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        scope["headers"] = others + verified


def identity_of(settings: Settings, cookies: LoginCookies, origin: Origin | None) -> Identity:
    """Return the way in which people are identified.

    Args:
        settings: Chooses the way.
        cookies: Signs and reads the cookies of logins.
        origin: The public address, if one is set.

    Raises:
        SettingsError: ``interface_login`` has an unknown value, or its settings are invalid.
    """
    kind = login_kind(settings)
    roles = Roles(settings)
    if kind == "header":
        return HeaderIdentity(settings, roles)
    if kind == "name":
        refuse_groups(settings)
    return CookieIdentity(cookies, roles, origin, accepts_names=kind == "name")


def login_kind(settings: Settings) -> str:
    """Return the way in which people sign in by `settings`: ``name``, ``oidc`` or ``header``.

    Raises:
        SettingsError: ``interface_login`` has another value.
    """
    kind = settings.interface_login or "name"
    if kind not in {"name", "oidc", "header"}:
        raise SettingsError(f"interface_login: expected name, oidc or header, got {kind!r}.")
    return kind


def require_login(host: str, local: bool, settings: Settings) -> None:
    """Refuse a login by name where others than the users of this machine can open the interface.

    Args:
        host: The address to listen on, for the message.
        local: Whether it is loopback.
        settings: The settings. The public address counts, too: a proxy may forward to loopback. A public
            address on loopback states that people open the interface through a tunnel to their machine; the
            interface then refuses all other connections (``own_machine.py``).

    Raises:
        SettingsError: Others can open it, and ``interface_login`` is name, or not set.
    """
    origin = public_origin(settings.interface_url)
    is_local = local if origin is None else is_loopback_name(origin.host)
    kind = login_kind(settings)
    if kind == "oidc" and not is_local and (origin is None or not origin.is_secure):
        raise SettingsError(
            "interface_login is oidc: expected the https address of the interface as interface_url.",
            hint="Set CORDBOARD_INTERFACE_URL to https://HOST: the identity provider sends people back to it.",
        )
    if is_local or kind != "name":
        return
    where = f"--host {host}" if origin is None else f"interface_url {origin}"
    raise SettingsError(
        f"{where}: with a login by name, everybody who can open the interface can be everybody.",
        hint="Set CORDBOARD_INTERFACE_LOGIN to oidc (with CORDBOARD_OIDC_ISSUER and "
        "CORDBOARD_OIDC_CLIENT_ID), or to header if a proxy authenticates people. To try it out, listen on "
        "127.0.0.1; in a cluster, set CORDBOARD_INTERFACE_URL to http://localhost:3000 and use "
        "`kubectl port-forward`.",
    )


def person_of(request: Request) -> Person | None:
    """Return the sender of `request`; None if unknown."""
    person: Person | None = request.scope.get(_PERSON)
    return person


def login_of(request: Request) -> ValidLogin | None:
    """Return the login of the sender of `request`; None without one, or with another kind of identity."""
    login: ValidLogin | None = request.scope.get(_LOGIN)
    return login


def renew_login(request: Request, response: Response) -> None:
    """Extend a login. Called for pages and joins only, which a person requests.

    A response that is under way during a sign-out would otherwise restore the login.

    Args:
        request: The request of the person.
        response: The response that sets the cookie.
    """
    login = login_of(request)
    if login is not None:
        cookies: LoginCookies = request.app.state.login
        cookies.renew(login, response, secure=is_secure(request.scope, request.app.state.origin))


def _text(value: str) -> str:
    """Return the value of a header, which is UTF-8."""
    return value.encode("latin-1").decode("utf-8")


def _log_refusal(sampler: Sampler, scope: Scope, reason: str) -> None:
    suppressed = sampler.admit()
    if suppressed is not None:
        peer = (scope.get("client") or (None,))[0]
        log.warning(
            "A login was refused",
            event="auth.refused",
            reason=reason,
            peer=peer,
            suppressed=suppressed,
        )
