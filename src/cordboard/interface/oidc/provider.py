"""Requests to the identity provider: its metadata, its keys, tokens and user information.

No request follows a redirect, takes longer than ``TIMEOUT_S``, or reads more than 256 KB. None carries a header of
Cordboard.
"""

import base64
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote_plus, urlencode, urlsplit

import aiohttp
import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key

from cordboard.context import EMPTY
from cordboard.emit import get_logger
from cordboard.interface.oidc.errors import (
    ProviderInvalidError,
    ProviderUnavailableError,
    SignInExpiredError,
)
from cordboard.interface.shared_request import SharedRequest
from cordboard.web.http_client import HttpClient, NoAnswerError, Reply
from cordboard.web.origin import is_loopback_name
from cordboard.web.rate_limits import Clock

TIMEOUT_S: Final = 10.0
"""For a whole answer. A person waits for up to three of them."""
METADATA_FRESH_S: Final = 3600.0
KEYS_FRESH_S: Final = 3600.0
KEYS_PAUSE_S: Final = 10.0
"""Between two requests for keys: tokens with unknown keys must not become a flood of requests."""
_WELL_KNOWN: Final = "/.well-known/openid-configuration"
_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}

log = get_logger("oidc")


class Metadata(msgspec.Struct, frozen=True):
    """What a provider publishes about itself (OpenID Connect Discovery 1.0, section 3).

    Attributes:
        issuer: The provider's identifier.
        authorization_endpoint: Where people sign in.
        token_endpoint: Where a code becomes an ID token.
        jwks_uri: The keys that sign ID tokens.
        userinfo_endpoint: Further claims, if there are any.
        end_session_endpoint: Where people sign out, if that is possible.
        token_endpoint_auth_methods_supported: How a client may show its secret.
        authorization_response_iss_parameter_supported: Whether each response names the issuer (RFC 9207).
    """

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    end_session_endpoint: str | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False


class Tokens(msgspec.Struct, frozen=True):
    """The answer to a code.

    Attributes:
        id_token: The signed identity.
        access_token: Gives access to the user information.
    """

    id_token: str
    access_token: str


class Provider:
    """The identity provider.

    Args:
        connections: The connections to it; they stay the caller's.
        issuer: Its issuer, as the settings name it.
        client_id: The id of this interface there.
        client_secret: Returns the secret of this interface there; None for a public client.
        clock: A monotonic clock, in seconds.
    """

    def __init__(
        self,
        connections: aiohttp.ClientSession,
        issuer: str,
        client_id: str,
        client_secret: Callable[[], str | None],
        clock: Clock = time.monotonic,
    ) -> None:
        # The session of a person is nobody's business there.
        self._http = HttpClient(connections, lambda: EMPTY)
        self._issuer = issuer
        self._client_id = client_id
        self._client_secret = client_secret
        self._clock = clock
        self._metadata: Metadata | None = None
        self._metadata_at = 0.0
        self._keys: list[Key] = []
        self._keys_at: float | None = None
        # Many sign-ins at once need one request, and none waits for those before it.
        self._metadata_request = SharedRequest(self._renew_metadata)
        self._keys_request = SharedRequest(self._renew_keys)

    async def metadata(self) -> Metadata:
        """Return the metadata, which is read once an hour; earlier metadata while the provider is away.

        Raises:
            ProviderUnavailableError: It was never read, and the provider does not answer.
            ProviderInvalidError: The answer is not the metadata of this issuer.
        """
        is_fresh = self._clock() - self._metadata_at < METADATA_FRESH_S
        if self._metadata is not None and is_fresh:
            return self._metadata
        return await self._metadata_request.answer()

    async def known_metadata(self) -> Metadata:
        """Return the metadata that was read last, of whatever age; read it only if it was never read.

        Raises:
            ProviderUnavailableError: It was never read, and the provider does not answer.
            ProviderInvalidError: The answer is not the metadata of this issuer.
        """
        return self._metadata or await self.metadata()

    async def _renew_metadata(self) -> Metadata:
        try:
            self._metadata = await self._read_metadata()
        except ProviderUnavailableError as error:
            if self._metadata is None:
                raise
            log.warning("The identity provider's metadata is out of date", reason=error.reason)
        self._metadata_at = self._clock()
        return self._metadata

    async def keys(self, *, renewed: bool = False) -> list[Key]:
        """Return the keys that sign ID tokens.

        Args:
            renewed: Whether the known keys do not suffice: the provider may have changed them.

        Raises:
            ProviderUnavailableError: The provider does not answer, and no key is known.
            ProviderInvalidError: The answer has no usable key.
        """
        age = float("inf") if self._keys_at is None else self._clock() - self._keys_at
        if age < (KEYS_PAUSE_S if renewed else KEYS_FRESH_S):
            return self._keys
        try:
            return await self._keys_request.answer()
        except ProviderUnavailableError:
            if not self._keys or renewed:
                raise
            self._keys_at = self._clock()
            return self._keys

    async def _renew_keys(self) -> list[Key]:
        self._keys = _usable_keys(await self._get((await self.metadata()).jwks_uri))
        self._keys_at = self._clock()
        return self._keys

    async def exchange(self, code: str, redirect_uri: str, verifier: str) -> Tokens:
        """Return the tokens for a code, which the provider accepts once.

        Args:
            code: The code.
            redirect_uri: The URI to which the provider has sent it.
            verifier: The secret of PKCE.

        Raises:
            SignInExpiredError: The provider refuses the code.
            ProviderUnavailableError: The provider does not answer.
            ProviderInvalidError: It refuses this interface, or the answer has no ID token.
        """
        metadata = await self.metadata()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        headers = self._authenticate(metadata, form)
        reply = await self._ask("POST", metadata.token_endpoint, urlencode(form).encode(), headers)
        if not reply.is_success:
            raise _refusal(reply)
        try:
            return msgspec.json.decode(reply.content, type=Tokens)
        except (msgspec.MsgspecError, ValueError) as error:
            raise ProviderInvalidError(f"token response: {error}") from error

    async def user_info(self, access_token: str) -> dict[str, Any]:
        """Return the claims of the user information; none if the provider has no such endpoint.

        Args:
            access_token: From `exchange`.

        Raises:
            ProviderUnavailableError: The provider does not answer.
            ProviderInvalidError: The answer is no JSON object.
        """
        endpoint = (await self.metadata()).userinfo_endpoint
        return await self._get(endpoint, access_token) if endpoint else {}

    async def _read_metadata(self) -> Metadata:
        content = await self._get(self._issuer.removesuffix("/") + _WELL_KNOWN)
        try:
            metadata = msgspec.convert(content, Metadata)
        except msgspec.ValidationError as error:
            raise ProviderInvalidError(f"metadata: {error}") from error
        # Another issuer's metadata would let that one sign people in here.
        if metadata.issuer != self._issuer:
            raise ProviderInvalidError(
                f"metadata: expected the issuer {self._issuer}, got {metadata.issuer[:200]}"
            )
        for url in (metadata.authorization_endpoint, metadata.token_endpoint, metadata.jwks_uri,
                    metadata.userinfo_endpoint, metadata.end_session_endpoint):  # fmt: skip
            if url is not None and not is_trustworthy_url(url):
                raise ProviderInvalidError(f"metadata: expected an https URL, got {url[:200]}")
        return metadata

    def _authenticate(self, metadata: Metadata, form: dict[str, str]) -> dict[str, str]:
        """Return the headers that show who sends `form`, or add to `form` what does."""
        secret = self._client_secret()
        methods = metadata.token_endpoint_auth_methods_supported
        if secret and "client_secret_basic" in methods:
            pair = f"{quote_plus(self._client_id)}:{quote_plus(secret)}"  # RFC 6749, section 2.3.1
            return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
        form["client_id"] = self._client_id
        if secret:
            form["client_secret"] = secret
        return {}

    async def _get(self, url: str, access_token: str | None = None) -> dict[str, Any]:
        reply = await self._ask("GET", url, None, {}, access_token)
        if not reply.is_success:
            raise ProviderUnavailableError(f"{urlsplit(url).path}: HTTP {reply.status}")
        try:
            content = reply.json()
        except (ValueError, RecursionError) as error:
            raise ProviderInvalidError(f"{urlsplit(url).path}: {error}") from error
        if not isinstance(content, dict):
            raise ProviderInvalidError(f"{urlsplit(url).path}: expected a JSON object")
        return content

    async def _ask(
        self,
        method: str,
        url: str,
        body: bytes | None,
        headers: Mapping[str, str],
        access_token: str | None = None,
    ) -> Reply:
        try:
            return await self._http.request(
                method,
                url,
                body,
                credential=access_token,
                timeout_s=TIMEOUT_S,
                headers={**_FORM, **headers},
            )
        except NoAnswerError as error:
            reason = f"{urlsplit(url).hostname}: {error.failure}: {error.reason}"
            raise ProviderUnavailableError(reason) from error


def is_trustworthy_url(url: str) -> bool:
    """Return whether requests to `url` are encrypted, or stay on this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme == "https":
        return bool(host)
    return parts.scheme == "http" and is_loopback_name(host)


def _refusal(reply: Reply) -> Exception:
    """Return the error for a code that the provider does not accept."""
    try:
        problem = reply.json()
    except (ValueError, RecursionError):
        problem = None
    code = problem.get("error") if isinstance(problem, dict) else None
    reason = f"token endpoint: HTTP {reply.status} {str(code)[:100]}"
    if code == "invalid_grant":
        return SignInExpiredError(reason)
    if reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ProviderUnavailableError(reason)
    return ProviderInvalidError(reason)


def _usable_keys(content: dict[str, Any]) -> list[Key]:
    """Return the public keys for signatures of a key set; it may contain others, also of unknown kinds."""
    found = []
    items = content.get("keys")
    for item in items if isinstance(items, list) else []:
        # A symmetric key would make the public set a secret with which everybody could sign.
        if not isinstance(item, dict) or item.get("kty") == "oct" or item.get("use") == "enc":
            continue
        try:
            found.append(JWKRegistry.import_key(item))
        except (JoseError, ValueError, TypeError, KeyError):
            continue
    if not found:
        raise ProviderInvalidError("keys: expected a public key for signatures, got none")
    return found
