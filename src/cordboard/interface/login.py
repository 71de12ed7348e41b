"""Login by name: a signed cookie says who somebody is, and nothing that a browser claims does."""

import secrets
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec
from itsdangerous import BadData, URLSafeTimedSerializer
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from cordboard.context import Context
from cordboard.context.carrier import HEADER_BAGGAGE, OWN_HEADERS, inject_headers
from cordboard.contract.errors import InvalidValueError, SettingsError, UnauthorizedError
from cordboard.web.auth import LOOPBACK, refuse_short

NAME_MAX_CHARS: Final = 64
MAX_AGE_S: Final = 30 * 86_400  # a month without asking again; a browser's own memory is no longer
# Browsers take the name with __Host- only from https, for this host alone, and for all paths.
COOKIE: Final = "cordboard_login"
SECURE_COOKIE: Final = f"__Host-{COOKIE}"
_SCOPE_KEY: Final = "cordboard.person"
# Controls, halves of surrogate pairs, line and paragraph separators.
_REFUSED_CATEGORIES: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
# Embeddings, overrides and isolates of direction: they turn the text around them, too.
_REFUSED_CHARS: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_INVISIBLE_MAJORS: Final = frozenset("ZCM")
# Of an identity, what a browser must not claim; its session id and trace are only correlation.
_CLAIMS: Final = frozenset(
    name.lower().encode()
    for name in (*OWN_HEADERS, HEADER_BAGGAGE)
    if name not in {"X-Session-Id", "traceparent"}
)


@dataclass(frozen=True, slots=True)
class Person:
    """Who is signed in: an id that lasts as long as the login, and the name that was given."""

    user_id: str
    name: str


class Login:
    """Signs people in and out, and knows them again.

    Args:
        secret: Gives what signs the cookie, as it is now.
    """

    def __init__(self, secret: Callable[[], str]) -> None:
        self._secret = secret

    def person(self, cookies: dict[str, str]) -> Person | None:
        """Return who holds these cookies; None when nobody known does."""
        value = cookies.get(SECURE_COOKIE) or cookies.get(COOKIE)
        if not value:
            return None
        try:
            return msgspec.convert(self._signer().loads(value, max_age=MAX_AGE_S), Person)
        except (BadData, msgspec.ValidationError):
            return None

    def sign_in(self, name: str, response: Response, *, secure: bool) -> Person:
        """Make a login for a name that ``check_name`` has passed; set its cookie."""
        person = Person(f"u-{secrets.token_hex(8)}", name)
        response.set_cookie(
            SECURE_COOKIE if secure else COOKIE,
            str(self._signer().dumps({"user_id": person.user_id, "name": person.name})),
            max_age=MAX_AGE_S,
            httponly=True,
            samesite="lax",
            secure=secure,
        )
        return person

    @staticmethod
    def sign_out(response: Response, *, secure: bool) -> None:
        """Take the cookie back."""
        name = SECURE_COOKIE if secure else COOKIE
        response.delete_cookie(name, httponly=True, samesite="lax", secure=secure)

    def _signer(self) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(self._secret(), salt="cordboard.login")


class IdentityMiddleware:
    """Puts the login's identity in place of whatever identity the request claims.

    Stands before the session middleware, so that every line of the request has the right user.

    Args:
        app: The application behind it.
        login: Knows people by their cookies.
    """

    def __init__(self, app: ASGIApp, login: Login) -> None:
        self._app = app
        self._login = login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http":
            found = self._login.person(Request(scope).cookies)
            headers: dict[str, str] = {}
            if found is not None:
                inject_headers(Context(user_id=found.user_id, user_name=found.name), headers)
            kept = [pair for pair in scope["headers"] if pair[0].lower() not in _CLAIMS]
            ours = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
            scope = {**scope, "headers": kept + ours, _SCOPE_KEY: found}
        await self._app(scope, receive, send)


def person_of(request: Request) -> Person | None:
    """Return who sent a request, by its login."""
    found: Person | None = request.scope.get(_SCOPE_KEY)
    return found


def required_person(request: Request) -> Person:
    """Return who sent a request.

    Raises:
        UnauthorizedError: Nobody is signed in.
    """
    found = person_of(request)
    if found is None:
        raise UnauthorizedError("You are not signed in.", hint="Sign in again with your name.")
    return found


def check_name(text: str) -> str:
    """Return a name as it is kept: trimmed, in Unicode's composed form.

    Raises:
        InvalidValueError: It is empty, too long, or holds what cannot be seen.
    """
    name = unicodedata.normalize("NFC", text.strip())
    if not any(unicodedata.category(char)[0] not in _INVISIBLE_MAJORS for char in name):
        raise InvalidValueError("Please type your name.", hint="It needs one letter or more.")
    if len(name) > NAME_MAX_CHARS:
        raise InvalidValueError(
            f"This name has {len(name)} characters.", hint=f"Use {NAME_MAX_CHARS} at most."
        )
    if any(unicodedata.category(c) in _REFUSED_CATEGORIES or c in _REFUSED_CHARS for c in name):
        raise InvalidValueError(
            "This name holds invisible control characters.",
            hint="Type it by hand, without line breaks or tabs.",
        )
    return name


def require_session_secret(host: str, secret: str | None) -> None:
    """Refuse to listen for others without a secret that signs the logins, or with a short one.

    Raises:
        SettingsError: ``host`` is not loopback, and there is no secret or a short one.
    """
    if host not in LOOPBACK and not secret:
        raise SettingsError(
            f"--host {host}: without a session secret this listens on loopback only.",
            hint="Set CORDBOARD_SESSION_SECRET (or CORDBOARD_SESSION_SECRET_FILE) to a long random "
            "text, the same for every replica.",
        )
    refuse_short(host, "CORDBOARD_SESSION_SECRET", [secret] if secret else [])
