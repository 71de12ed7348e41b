"""One sign-in with OpenID Connect, from its beginning to the account, and the sign-out at the provider."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

import aiohttp
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri

from cordboard.contract.errors import CordboardError, SettingsError
from cordboard.environment import OIDC_SECRET
from cordboard.interface.login import Account, LoginLimits
from cordboard.interface.oidc.account import Accounts
from cordboard.interface.oidc.attempts import Attempt
from cordboard.interface.oidc.errors import (
    ProviderInvalidError,
    ProviderUnavailableError,
    SignInRefusedError,
)
from cordboard.interface.oidc.id_token import IdTokens
from cordboard.interface.oidc.provider import Provider, is_trustworthy_url
from cordboard.interface.people import Roles
from cordboard.settings import Settings

CALLBACK_PATH: Final = "/login/callback"
ID_TOKEN_MAX_CHARS: Final = 3500
"""An ID token that is kept for the sign-out: browsers drop cookies of more than 4096 bytes."""
_TEXT_MAX_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class SignedInPerson:
    """The result of a sign-in.

    Attributes:
        account: Who has signed in.
        id_token: Shows the provider at a sign-out who signs out; None if it is too long to be kept.
    """

    account: Account
    id_token: str | None


class OidcLogin:
    """Signs people in and out with an identity provider.

    Args:
        settings: The provider, and what its claims mean.
        roles: Decides the role of each person.
        connections: The connections to the provider; they stay the caller's.
    """

    def __init__(
        self, settings: Settings, roles: Roles, connections: aiohttp.ClientSession
    ) -> None:
        issuer, client_id = checked_provider(settings)
        self._issuer = issuer
        self._client_id = client_id
        self._scopes = settings.oidc_scopes
        self._provider = Provider(
            connections, issuer, client_id, lambda: settings.oidc_client_secret
        )
        self._id_tokens = IdTokens(self._provider, issuer, client_id)
        self._accounts = Accounts(settings, roles)

    async def sign_in_url(self, attempt: Attempt, base: str) -> str:
        """Return the URL at the provider where a sign-in goes on.

        Args:
            attempt: The sign-in.
            base: The address of this interface, with its path prefix.

        Raises:
            ProviderUnavailableError: The provider does not answer.
            ProviderInvalidError: Its metadata is invalid.
        """
        metadata = await self._provider.metadata()
        url: str = prepare_grant_uri(
            metadata.authorization_endpoint,
            self._client_id,
            "code",
            base + CALLBACK_PATH,
            self._scopes,
            attempt.state,
            nonce=attempt.nonce,
            code_challenge=attempt.challenge,
            code_challenge_method="S256",
        )
        return url

    async def check_response(self, query: Mapping[str, str]) -> None:
        """Check what the provider has sent to this interface with a person.

        Args:
            query: The query of the request.

        Raises:
            SignInRefusedError: The provider has not signed the person in.
            ProviderInvalidError: Another provider has sent the response, or it has no code.
            ProviderUnavailableError: The provider has a fault.
        """
        metadata = await self._provider.metadata()
        named = query.get("iss")
        is_required = metadata.authorization_response_iss_parameter_supported
        if named is None and is_required:
            raise ProviderInvalidError("response: expected iss, got none")
        if named is not None and not hmac.compare_digest(named.encode(), self._issuer.encode()):
            raise ProviderInvalidError("response: iss names another issuer")
        if error := query.get("error"):
            raise _response_error(error, query.get("error_description", ""))
        if not query.get("code"):
            raise ProviderInvalidError("response: expected a code, got none")

    async def complete(self, attempt: Attempt, code: str, base: str) -> SignedInPerson:
        """Return who has signed in.

        Args:
            attempt: The sign-in.
            code: From the provider's response.
            base: The address of this interface, with its path prefix.

        Raises:
            CordboardError: One of those in ``errors.py``.
        """
        tokens = await self._provider.exchange(code, base + CALLBACK_PATH, attempt.verifier)
        claims = await self._id_tokens.verify(tokens, attempt.nonce)
        if not self._accounts.is_complete(claims):
            more = await self._provider.user_info(tokens.access_token)
            if more.get("sub", claims["sub"]) != claims["sub"]:
                raise ProviderInvalidError("user information: another sub")
            claims = {**more, **claims}
        account = self._accounts.account(claims)
        is_short = len(tokens.id_token) <= ID_TOKEN_MAX_CHARS
        return SignedInPerson(account, tokens.id_token if is_short else None)

    async def sign_out_url(self, id_token: str | None, base: str) -> str | None:
        """Return the URL at which a person signs out at the provider (RP-Initiated Logout 1.0).

        Args:
            id_token: From the sign-in, if it was kept.
            base: The address of this interface, with its path prefix.

        Returns:
            None if the provider has no such URL, or does not answer.
        """
        try:
            # Also if it is out of date: nobody waits for the provider in order to sign out here.
            endpoint = (await self._provider.known_metadata()).end_session_endpoint
        except (ProviderUnavailableError, ProviderInvalidError):
            return None
        if endpoint is None:
            return None
        query = {"client_id": self._client_id, "post_logout_redirect_uri": f"{base}/login"}
        if id_token:
            query["id_token_hint"] = id_token
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"


def checked_provider(settings: Settings) -> tuple[str, str]:
    """Return the issuer and the client id of `settings`.

    Raises:
        SettingsError: One of them is missing or invalid.
    """
    issuer, client_id = settings.oidc_issuer, settings.oidc_client_id
    if not issuer or not client_id:
        raise SettingsError(
            "interface_login is oidc, but there is no provider.",
            hint="Set CORDBOARD_OIDC_ISSUER, CORDBOARD_OIDC_CLIENT_ID and, unless the client is public, "
            f"{OIDC_SECRET} (or {OIDC_SECRET}_FILE).",
        )
    if not is_trustworthy_url(issuer) or {*"?#@"} & {*issuer}:
        raise SettingsError(
            f"oidc_issuer: expected an https URL without a query, got {issuer!r}.",
            hint="Write it as the provider does in the issuer of its metadata.",
        )
    if "openid" not in settings.oidc_scopes:
        raise SettingsError("oidc_scopes: expected openid among the scopes.")
    return issuer, client_id


def login_limits(settings: Settings) -> LoginLimits:
    """Return how long a login lasts by `settings`.

    Raises:
        SettingsError: A call could outlast it.
    """
    limits = LoginLimits(settings.oidc_login_hours * 3600, settings.oidc_idle_minutes * 60)
    if limits.idle_s < settings.interface_max_duration_s:
        raise SettingsError(
            f"oidc_idle_minutes: expected at least the {settings.interface_max_duration_s} s of "
            f"interface_max_duration_s, got {settings.oidc_idle_minutes} minutes.",
            hint="A login that ends during a call would prevent its reconnection.",
        )
    return limits


def _response_error(error: str, description: str) -> CordboardError:
    """Return the error for a response without a code. The provider's words go to the log only."""
    reason = f"response: {error[:_TEXT_MAX_CHARS]}: {description[:_TEXT_MAX_CHARS]}"
    if error in {"server_error", "temporarily_unavailable"}:
        return ProviderUnavailableError(reason)
    if error in {"access_denied", "login_required", "interaction_required", "consent_required"}:
        return SignInRefusedError(reason, "You were not signed in.")
    return ProviderInvalidError(reason)
