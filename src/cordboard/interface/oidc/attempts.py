"""Sign-ins that have begun: each is bound to the browser that began it, by a cookie, and can end once.

The cookie is signed and has the state, the nonce, the secret of PKCE and the page to open afterwards. Each
sign-in has a cookie of its own, so that several tabs can sign in at the same time, and several replicas need no
common store.
"""

import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from itsdangerous import BadData, URLSafeSerializer
from starlette.responses import Response

from cordboard.interface.oidc.errors import SignInExpiredError

AGE_MAX_S: Final = 600
"""How long a person may take to sign in at the provider, in seconds."""
SKEW_MAX_S: Final = 60.0  # between the clocks of two replicas
OPEN_MAX: Final = 8
"""Sign-ins that one browser may have open, 400 bytes each in the headers of its requests."""
ENDED_MAX: Final = 10_000
"""Ended sign-ins that this process remembers. Beyond that the provider alone refuses a code that was used."""
COOKIE_PREFIX: Final = "cordboard_signin_"
_SUFFIX_CHARS: Final = 12


class Attempt(msgspec.Struct, frozen=True):
    """A sign-in that has begun.

    Attributes:
        state: Returned by the provider with the code.
        nonce: Returned in the ID token.
        verifier: The secret of PKCE.
        target: The path of the page to open afterwards.
        at: When it began, in seconds since 1970.
    """

    state: str
    nonce: str
    verifier: str
    target: str
    at: int

    @property
    def challenge(self) -> str:
        """What the provider gets of the secret of PKCE at the beginning (S256)."""
        return str(create_s256_code_challenge(self.verifier))


class Attempts:
    """Begins and ends sign-ins.

    Args:
        current_secrets: Returns the secrets that sign cookies; the first one signs, all are accepted.
        wall: The time in seconds since 1970.
    """

    def __init__(
        self,
        current_secrets: Callable[[], tuple[str, ...]],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._current_secrets = current_secrets
        self._wall = wall
        self._ended: OrderedDict[str, None] = OrderedDict()

    def begin(self, target: str) -> Attempt:
        """Return a new sign-in.

        Args:
            target: The path of the page to open afterwards.
        """
        return Attempt(
            secrets.token_hex(32),
            secrets.token_urlsafe(32),
            secrets.token_urlsafe(48),
            target,
            int(self._wall()),
        )

    def remember(
        self, attempt: Attempt, response: Response, cookies: Mapping[str, str], *, secure: bool
    ) -> None:
        """Set the cookie of a sign-in; delete those of others if there are too many.

        Args:
            attempt: The sign-in.
            response: The response that sets the cookie.
            cookies: The cookies of the request.
            secure: Whether the browser used TLS.
        """
        others = [name for name in cookies if COOKIE_PREFIX in name]
        if len(others) >= OPEN_MAX:
            for name in others:
                _delete(response, name, secure=secure)
        response.set_cookie(
            _cookie_of(attempt.state, secure=secure),
            str(self._signer().dumps(msgspec.to_builtins(attempt))),
            max_age=AGE_MAX_S,
            httponly=True,
            samesite="lax",  # strict would keep it from the request that comes from the provider
            secure=secure,
        )

    def end(self, state: str, cookies: Mapping[str, str], *, secure: bool) -> Attempt:
        """Return the sign-in that a response of the provider belongs to; no other response can end it.

        Args:
            state: The state in the response.
            cookies: The cookies of the request.
            secure: Whether the browser used TLS.

        Raises:
            SignInExpiredError: It did not begin in this browser, has ended, or is too old.
        """
        value = cookies.get(_cookie_of(state, secure=secure))
        if not value:
            raise SignInExpiredError("no cookie for the state")
        try:
            attempt = msgspec.convert(self._signer().loads(value), Attempt)
        except (BadData, msgspec.ValidationError) as error:
            raise SignInExpiredError("a cookie that this server did not sign") from error
        if not hmac.compare_digest(attempt.state.encode(), state.encode("utf-8", "replace")):
            raise SignInExpiredError("the state of another sign-in")
        if not -SKEW_MAX_S <= self._wall() - attempt.at <= AGE_MAX_S:
            raise SignInExpiredError("too old")
        if attempt.state in self._ended:
            raise SignInExpiredError("used before")
        self._ended[attempt.state] = None
        if len(self._ended) > ENDED_MAX:
            self._ended.popitem(last=False)
        return attempt

    def forget(self, state: str, response: Response, *, secure: bool) -> None:
        """Delete the cookie of a sign-in.

        Args:
            state: The state of the sign-in.
            response: The response that deletes the cookie.
            secure: Whether the browser used TLS.
        """
        _delete(response, _cookie_of(state, secure=secure), secure=secure)

    def _signer(self) -> URLSafeSerializer:
        # itsdangerous signs with the last key of the list.
        return URLSafeSerializer(list(reversed(self._current_secrets())), salt="cordboard.signin.1")


def _cookie_of(state: str, *, secure: bool) -> str:
    # Only hexadecimal digits: the state of a request may be any text.
    suffix = "".join(char for char in state[:_SUFFIX_CHARS] if char in "0123456789abcdef")
    return f"{'__Host-' if secure else ''}{COOKIE_PREFIX}{suffix}"


def _delete(response: Response, name: str, *, secure: bool) -> None:
    response.delete_cookie(name, httponly=True, samesite="lax", secure=secure)
