"""Login by name: only a signed cookie says who somebody is, not what a browser claims.

This is not authentication: everybody who types a name is let in, as a new user. If that is not enough,
a proxy authenticates people and ``identity.py`` takes their names from it.
"""

import secrets
import time
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
from itsdangerous import BadData, BadSignature, URLSafeSerializer
from starlette.responses import Response

from cordboard.contract.errors import InvalidValueError, SettingsError
from cordboard.web.auth import is_local, refuse_short

NAME_MAX_CHARS: Final = 64
AGE_MAX_S: Final = 30 * 86_400  # a month: then the page asks for the name again
IDLE_MAX_S: Final = 12 * 3600  # a night: a machine that was left signed in is signed out next day
RENEWED_AFTER_S: Final = 600  # a cookie is not signed anew for each request
SKEW_MAX_S: Final = 60.0  # clocks of two replicas; without NTP they drift by seconds a day
ENDED_MAX: Final = 10_000  # logins ended here and remembered, about 150 bytes each
# Browsers take the name with __Host- only from https, for this host alone, and for all paths.
COOKIE: Final = "cordboard_login"
SECURE_COOKIE: Final = f"__Host-{COOKIE}"
# Controls, halves of surrogate pairs, line and paragraph separators.
_REFUSED_CATEGORIES: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
# Embeddings, overrides and isolates of direction: they turn the text around them, too.
_REFUSED_CHARS: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_INVISIBLE_MAJORS: Final = frozenset("ZCM")


@dataclass(frozen=True, slots=True)
class Person:
    """Who is signed in: an id that lasts as long as the login, and the name that was given."""

    user_id: str
    name: str


class _Kept(msgspec.Struct, frozen=True):
    """What a cookie holds.

    Attributes:
        user_id: Drawn for this login.
        name: The name that was given.
        since: When it began, in seconds since the epoch.
        signed: When the cookie was signed.
    """

    user_id: str
    name: str
    since: int
    signed: int


@dataclass(frozen=True, slots=True)
class ValidLogin:
    """A valid login.

    Attributes:
        person: Whose it is.
        since: When it began.
        signed: When its cookie was signed last.
    """

    person: Person
    since: int
    signed: int


class ForgedError(Exception):
    """A cookie that this server did not sign."""


class LoginCookies:
    """Signs people in and out, and recognizes them.

    A login ends after 30 days, or after 12 hours without a page. A sign-out ends it for this process,
    which remembers that; another replica, or this one after a restart, still accepts a copy of
    the cookie until it is 12 hours old.

    Args:
        signed_by: Gives the secrets, as they are now: the first signs, all are accepted.
        wall: Seconds since the epoch.
    """

    def __init__(
        self, signed_by: Callable[[], tuple[str, ...]], wall: Callable[[], float] = time.time
    ) -> None:
        self._secrets = signed_by
        self._wall = wall
        self._ended: OrderedDict[str, None] = OrderedDict()

    def known(self, cookies: Mapping[str, str], *, secure: bool) -> ValidLogin | None:
        """Return whose login these cookies have; None without a valid one.

        Raises:
            ForgedError: There is a cookie that none of the secrets has signed.
        """
        # Over https only the cookie that no other host can set; one without the prefix is ignored.
        value = cookies.get(SECURE_COOKIE if secure else COOKIE)
        if not value:
            return None
        try:
            kept = msgspec.convert(self._signer().loads(value), _Kept)
        except BadSignature as error:
            raise ForgedError from error
        except (BadData, msgspec.ValidationError):
            return None
        return self._lasting(kept)

    def sign_in(self, name: str, response: Response, *, secure: bool) -> Person:
        """Make a login for a name that ``check_name`` has passed; set its cookie."""
        person = Person(f"u-{secrets.token_hex(8)}", name)
        self._set_cookie(response, person, int(self._wall()), secure=secure)
        return person

    def renew(self, known: ValidLogin, response: Response, *, secure: bool) -> None:
        """Sign a login anew, so that it lasts as long as it is used."""
        if self._wall() - known.signed > RENEWED_AFTER_S:
            self._set_cookie(response, known.person, known.since, secure=secure)

    def sign_out(self, person: Person | None, response: Response, *, secure: bool) -> None:
        """End a login, and take its cookie back."""
        if person is not None:
            self._ended[person.user_id] = None
            if len(self._ended) > ENDED_MAX:
                self._ended.popitem(last=False)
        name = SECURE_COOKIE if secure else COOKIE
        response.delete_cookie(name, httponly=True, samesite="lax", secure=secure)

    def _lasting(self, kept: _Kept) -> ValidLogin | None:
        now = self._wall()
        fresh = -SKEW_MAX_S <= now - kept.signed <= IDLE_MAX_S
        if not fresh or now - kept.since > AGE_MAX_S or kept.user_id in self._ended:
            return None
        return ValidLogin(Person(kept.user_id, kept.name), kept.since, kept.signed)

    def _set_cookie(self, response: Response, person: Person, since: int, *, secure: bool) -> None:
        kept = _Kept(person.user_id, person.name, since, int(self._wall()))
        response.set_cookie(
            SECURE_COOKIE if secure else COOKIE,
            str(self._signer().dumps(msgspec.to_builtins(kept))),
            max_age=IDLE_MAX_S,
            httponly=True,
            samesite="lax",
            secure=secure,
        )

    def _signer(self) -> URLSafeSerializer:
        """Return the signer with the first secret.

        Raises:
            SettingsError: There is none: nothing is signed or verified with an empty key.
        """
        found = self._secrets()
        if not found or not all(found):
            raise SettingsError("There is no session secret.", hint="Set CORDBOARD_SESSION_SECRET.")
        return URLSafeSerializer(list(reversed(found)), salt="cordboard.login.2")


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


def require_session_secret(host: str, signed_by: tuple[str, ...]) -> None:
    """Refuse to listen for others without a secret that signs the logins, or with a short one.

    Args:
        host: Where to listen.
        signed_by: The secret and its predecessor.

    Raises:
        SettingsError: ``host`` is not loopback, and there is no secret or a short one.
    """
    if not is_local(host) and not signed_by:
        raise SettingsError(
            f"--host {host}: without a session secret this listens on loopback only.",
            hint="Set CORDBOARD_SESSION_SECRET (or CORDBOARD_SESSION_SECRET_FILE) to a long random "
            "text, the same for every replica.",
        )
    refuse_short(host, "CORDBOARD_SESSION_SECRET", signed_by)
