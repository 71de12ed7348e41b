"""Login by name, kept in a signed cookie.

This is not authentication: everybody who types a name is signed in, as a new user. If that is not enough,
a proxy authenticates people, and ``identity.py`` takes their names from it.
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
RENEWED_AFTER_S: Final = 600  # so that not every request signs a cookie
SKEW_MAX_S: Final = 60.0  # between the clocks of two replicas; without NTP they drift seconds a day
ENDED_MAX: Final = 10_000
"""Ended logins that this process remembers, about 150 bytes each. Beyond that a copy of the oldest cookie is
accepted again until it expires."""
RENEWED_MAX: Final = 10_000
"""Renewed logins whose time this process remembers for their open event streams; beyond that, the stream of the
oldest one ends as if its page had not been used since, and a reload opens it again."""
COOKIE: Final = "cordboard_login"
# Browsers accept the prefix only over https, and only from this host and for all its paths.
SECURE_COOKIE: Final = f"__Host-{COOKIE}"


@dataclass(frozen=True, slots=True)
class LoginLimits:
    """How long a login lasts.

    Attributes:
        age_s: Seconds after which the person has to sign in again in any case.
        idle_s: Seconds without an opened page after which the login ends.
    """

    age_s: int
    idle_s: int


BY_NAME: Final = LoginLimits(age_s=30 * 86_400, idle_s=12 * 3600)
"""Those of a login by name: a month, and a night, so that a machine that was left signed in is signed out the
next day."""
# Control characters, surrogates, line and paragraph separators.
_REFUSED_CATEGORIES: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
# Embeddings, overrides and isolates of text direction, which also affect the text around them.
_REFUSED_CHARS: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Separators, control and format characters, combining marks: a name of these alone cannot be seen.
_INVISIBLE_MAJORS: Final = frozenset("ZCM")


class _CookieContent(msgspec.Struct, frozen=True):
    """The content of a cookie.

    Attributes:
        key: Drawn for this login, which ends by it.
        user_id: The person's id.
        name: The person's name.
        account: What identifies the person in the list of operators.
        groups: The groups of the person that have a meaning here.
        since: When the login began, in seconds since 1970.
        signed: When the cookie was signed, in seconds since 1970.
    """

    key: str
    user_id: str
    name: str
    account: str
    groups: tuple[str, ...]
    since: int
    signed: int


@dataclass(frozen=True, slots=True)
class Account:
    """A person as known where the person has signed in.

    Attributes:
        user_id: The id under which the sessions of the person are recorded.
        name: The name that pages show.
        account: What identifies the person in the list of operators.
        groups: The groups of the person that have a meaning here.
    """

    user_id: str
    name: str
    account: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ValidLogin:
    """A valid login.

    Attributes:
        key: Drawn for this login.
        account: Who has signed in.
        since: When the login began, in seconds since 1970.
        signed: When its cookie was signed, in seconds since 1970.
    """

    key: str
    account: Account
    since: int
    signed: int


class ForgedError(Exception):
    """This server has not signed the cookie."""


class LoginCookies:
    """Signs people in and out, and reads their cookies.

    A login ends after a while, and earlier if no page is opened. This process remembers a sign-out; another
    replica, or this one after a restart, still accepts a copy of the cookie until it would end without use.

    Args:
        current_secrets: Returns the current secrets. The first one signs; all are accepted.
        wall: The time in seconds since 1970.
        kind: The way in which people sign in: the cookie of one way is worth nothing in another.
        limits: How long a login lasts.
        root_path: The path prefix of the interface; "" for none.

    Attributes:
        limits: How long a login lasts.
    """

    def __init__(
        self,
        current_secrets: Callable[[], tuple[str, ...]],
        wall: Callable[[], float] = time.time,
        *,
        kind: str = "name",
        limits: LoginLimits = BY_NAME,
        root_path: str = "",
    ) -> None:
        self._current_secrets = current_secrets
        self._kind = kind
        self.limits = limits
        self._path = root_path or "/"
        self._wall = wall
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._renewed: OrderedDict[str, int] = OrderedDict()

    def read(self, cookies: Mapping[str, str], *, secure: bool) -> ValidLogin | None:
        """Return the login in the cookies of a request; None without a valid one.

        Args:
            cookies: The cookies.
            secure: Whether the browser used TLS.

        Raises:
            ForgedError: None of the secrets has signed the cookie.
        """
        # Over https only the cookie with the prefix counts, because another host of the domain, or an
        # attacker in the network, can set the one without it.
        value = cookies.get(SECURE_COOKIE if secure else COOKIE)
        if not value:
            return None
        try:
            content = msgspec.convert(self._signer().loads(value), _CookieContent)
        except BadSignature as error:
            raise ForgedError from error
        except (BadData, msgspec.ValidationError):
            return None
        return self._valid(content)

    def sign_in(self, account: Account, response: Response, *, secure: bool) -> None:
        """Start a login and set its cookie, which replaces that of an earlier login.

        Args:
            account: Who has signed in.
            response: The response that sets the cookie.
            secure: Whether the browser used TLS.
        """
        now = int(self._wall())
        self._set_cookie(
            response, ValidLogin(secrets.token_hex(16), account, now, now), secure=secure
        )

    def renew(self, login: ValidLogin, response: Response, *, secure: bool) -> None:
        """Sign a login's cookie again, so that the login lasts while it is used.

        Args:
            login: The login.
            response: The response that sets the cookie.
            secure: Whether the browser used TLS.
        """
        if self._wall() - login.signed > RENEWED_AFTER_S:
            self._note(login.key, int(self._wall()))
            self._set_cookie(response, login, secure=secure)

    def sign_out(self, login: ValidLogin | None, response: Response, *, secure: bool) -> None:
        """End a login and delete its cookie.

        Args:
            login: The login; None if nobody is signed in.
            response: The response that deletes the cookie.
            secure: Whether the browser used TLS.
        """
        if login is not None:
            self._ended[login.key] = None
            if len(self._ended) > ENDED_MAX:
                self._ended.popitem(last=False)
        name = SECURE_COOKIE if secure else COOKIE
        response.delete_cookie(
            name, path=self._path_of(secure=secure), httponly=True, samesite="lax", secure=secure
        )

    def lasts(self, login: ValidLogin, *, needs_fresh: bool) -> bool:
        """Return whether a login still lasts whose cookie was read before.

        Args:
            login: The login.
            needs_fresh: Whether it must not have ended by itself either.
        """
        if login.key in self._ended:
            return False
        signed = max(login.signed, self._renewed.get(login.key, 0))
        return not needs_fresh or self._is_within(login.since, signed)

    def _note(self, key: str, signed: int) -> None:
        """Remember when a login's cookie was last signed."""
        self._renewed[key] = max(signed, self._renewed.get(key, 0))
        self._renewed.move_to_end(key)
        if len(self._renewed) > RENEWED_MAX:
            self._renewed.popitem(last=False)

    def _is_within(self, since: int, signed: int) -> bool:
        """Return whether a login is within its limits."""
        now = self._wall()
        return (
            -SKEW_MAX_S <= now - signed <= self.limits.idle_s and now - since <= self.limits.age_s
        )

    def _valid(self, content: _CookieContent) -> ValidLogin | None:
        if content.key in self._ended or not self._is_within(content.since, content.signed):
            return None
        self._note(content.key, content.signed)  # another replica may have renewed it
        account = Account(content.user_id, content.name, content.account, content.groups)
        return ValidLogin(content.key, account, content.since, content.signed)

    def _set_cookie(self, response: Response, login: ValidLogin, *, secure: bool) -> None:
        who = login.account
        content = _CookieContent(
            login.key,
            who.user_id,
            who.name,
            who.account,
            who.groups,
            login.since,
            int(self._wall()),
        )
        response.set_cookie(
            SECURE_COOKIE if secure else COOKIE,
            str(self._signer().dumps(msgspec.to_builtins(content))),
            path=self._path_of(secure=secure),
            max_age=self.limits.idle_s,  # the browser forgets it when the server would refuse it
            httponly=True,  # no script needs it
            samesite="lax",  # strict would sign out a person who follows a link to a room
            secure=secure,
        )

    def _path_of(self, *, secure: bool) -> str:
        # Browsers refuse a cookie with the prefix __Host- and another path.
        return "/" if secure else self._path

    def _signer(self) -> URLSafeSerializer:
        """Return a signer with the current secrets.

        Raises:
            SettingsError: There is no secret: nothing is signed or verified with an empty key.
        """
        current = self._current_secrets()
        if not current or not all(current):
            raise SettingsError("There is no session secret.", hint="Set CORDBOARD_SESSION_SECRET.")
        # itsdangerous signs with the last key of the list.
        return URLSafeSerializer(list(reversed(current)), salt=f"cordboard.login.3.{self._kind}")


def account_by_name(name: str) -> Account:
    """Return a new user with the `name` that somebody has typed, from `check_name`."""
    return Account(f"u-{secrets.token_hex(8)}", name, name)


def check_name(text: str) -> str:
    """Return the name in `text`, trimmed and in Unicode's composed form (NFC).

    Raises:
        InvalidValueError: It is empty, too long, or contains invisible control characters.
    """
    name = unicodedata.normalize("NFC", text.strip())
    if not any(unicodedata.category(char)[0] not in _INVISIBLE_MAJORS for char in name):
        raise InvalidValueError(
            "Please enter your name.", hint="It needs at least one visible character."
        )
    if len(name) > NAME_MAX_CHARS:
        raise InvalidValueError(
            f"This name has {len(name)} characters.", hint=f"Use at most {NAME_MAX_CHARS}."
        )
    if any(unicodedata.category(c) in _REFUSED_CATEGORIES or c in _REFUSED_CHARS for c in name):
        raise InvalidValueError(
            "This name contains invisible control characters.",
            hint="Type it by hand, without line breaks or tabs.",
        )
    return name


def require_session_secret(host: str, session_secrets: tuple[str, ...]) -> None:
    """Refuse to listen beyond loopback without a secret for the login cookies that cannot be guessed.

    Args:
        host: The address to listen on.
        session_secrets: The secret and its predecessor.

    Raises:
        SettingsError: `host` is not loopback, and there is no secret or a short one.
    """
    if not is_local(host) and not session_secrets:
        raise SettingsError(
            f"--host {host}: an interface without a session secret listens on loopback only.",
            hint="Set CORDBOARD_SESSION_SECRET (or CORDBOARD_SESSION_SECRET_FILE) to a long random "
            "text, the same for every replica.",
        )
    refuse_short(host, "CORDBOARD_SESSION_SECRET", session_secrets)
