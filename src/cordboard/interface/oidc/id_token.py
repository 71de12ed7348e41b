"""Verification of ID tokens (OpenID Connect Core 1.0, section 3.1.3.7)."""

import time
from collections.abc import Callable
from typing import Any, Final

from authlib.oidc.core import CodeIDToken
from joserfc import jws, jwt
from joserfc.errors import ExpiredTokenError, InvalidClaimError, JoseError
from joserfc.jwk import Key

from cordboard.interface.oidc.errors import ClockSkewError, ProviderInvalidError
from cordboard.interface.oidc.provider import Provider, Tokens

ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519",
)  # fmt: skip
"""Signatures with a private key. Neither ``none`` nor those with a shared secret."""
SKEW_MAX_S: Final = 60
"""By how much the clocks of this server and of the provider may differ."""
TOKEN_MAX_CHARS: Final = 64 * 1024
_KEYS_MAX: Final = 20  # that are tried for a token without the id of its key


class IdTokens:
    """Verifies ID tokens.

    Args:
        provider: Has the keys.
        issuer: The issuer that they must have.
        client_id: The audience that they must have.
        wall: The time in seconds since 1970.
    """

    def __init__(
        self,
        provider: Provider,
        issuer: str,
        client_id: str,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._provider = provider
        self._issuer = issuer
        self._client_id = client_id
        self._wall = wall

    async def verify(self, tokens: Tokens, nonce: str) -> dict[str, Any]:
        """Return the claims of an ID token that the provider has made for one sign-in.

        Args:
            tokens: From the provider.
            nonce: What was sent with the sign-in.

        Raises:
            ProviderInvalidError: The token is not signed by the provider, or is not for this sign-in.
            ClockSkewError: It is not valid yet, or no longer.
            ProviderUnavailableError: The keys are unknown, and the provider does not answer.
        """
        if len(tokens.id_token) > TOKEN_MAX_CHARS:
            raise ProviderInvalidError("ID token: too long")
        try:
            return self._checked(
                _decoded(tokens.id_token, await self._provider.keys()), tokens, nonce
            )
        except _WrongKeyError:
            keys = await self._provider.keys(renewed=True)
        try:
            return self._checked(_decoded(tokens.id_token, keys), tokens, nonce)
        except _WrongKeyError as error:
            raise ProviderInvalidError(f"ID token: {error}") from error

    def _checked(self, token: jwt.Token, tokens: Tokens, nonce: str) -> dict[str, Any]:
        claims = CodeIDToken(
            token.claims,
            token.header,
            {
                "iss": {"essential": True, "value": self._issuer},
                "aud": {"essential": True, "value": self._client_id},
            },
            {"nonce": nonce, "client_id": self._client_id, "access_token": tokens.access_token},
        )
        now = int(self._wall())
        try:
            claims.validate(now, SKEW_MAX_S)
        except ExpiredTokenError as error:
            raise self._skew(token.claims, now) from error
        except (JoseError, TypeError, ValueError) as error:
            if isinstance(error, InvalidClaimError) and error.claim in {"iat", "nbf"}:
                raise self._skew(token.claims, now) from error
            raise ProviderInvalidError(f"ID token: {error}") from error
        if not isinstance(claims["sub"], str) or not claims["sub"]:
            raise ProviderInvalidError("ID token: expected a text as sub")
        return dict(claims)

    def _skew(self, claims: dict[str, Any], now: int) -> ClockSkewError:
        issued, expires = claims.get("iat"), claims.get("exp")
        return ClockSkewError(f"ID token: issued {issued}, expires {expires}, now {now}")


class _WrongKeyError(Exception):
    """No known key has signed the token."""


def _decoded(text: str, keys: list[Key]) -> jwt.Token:
    """Return the content of a token that one of `keys` has signed.

    Raises:
        _WrongKeyError: None of them has.
        ProviderInvalidError: It is no token, or has an algorithm that is not accepted.
    """
    try:
        header = jws.extract_compact(text.encode()).headers()
    except (JoseError, ValueError, TypeError) as error:
        raise ProviderInvalidError(f"ID token: {error}") from error
    if header.get("alg") not in ALGORITHMS:
        raise ProviderInvalidError(f"ID token: algorithm {str(header.get('alg'))[:40]}")
    kid = header.get("kid")
    fitting = [key for key in keys if kid is None or key.kid in {kid, None}]
    reason = f"unknown key {str(kid)[:100]}"
    for key in fitting[:_KEYS_MAX]:
        try:
            return jwt.decode(text, key, algorithms=ALGORITHMS)
        except (JoseError, ValueError, TypeError) as error:
            reason = str(error)
    raise _WrongKeyError(reason)
