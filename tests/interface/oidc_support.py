"""A strict identity provider, with faults that a real one has on bad days, and an interface that uses it."""

import asyncio
import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from cordboard.settings import Settings
from interface.interface_support import Browser, Site, open_site
from tests_support import served

CLIENT_ID = "voice"
CLIENT_SECRET = "s3cret-of-the-client"
KEYS = [RSAKey.generate_key(2048, auto_kid=True) for _ in range(2)]


@dataclass
class StrictProvider:
    """An identity provider that accepts nothing that its specification forbids.

    Faults are attributes: ``claims`` replaces claims of the next ID tokens (None removes one), ``header``
    members of their headers, ``metadata`` members of the metadata, ``response`` members of the response.
    """

    url: str = ""
    key: RSAKey = field(default_factory=lambda: KEYS[0])
    published: list[RSAKey] = field(default_factory=lambda: [KEYS[0]])
    user: dict[str, Any] = field(default_factory=lambda: {"sub": "ada-1", "name": "Ada Lovelace"})
    info: dict[str, Any] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)
    header: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    response: dict[str, str] = field(default_factory=dict)
    signing_key: RSAKey | OctKey | bytes | None = None
    id_token: str | None = None
    answers: dict[str, Response] = field(default_factory=dict)
    pause_s: dict[str, float] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    _codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def app(self) -> Starlette:
        paths = {
            "/.well-known/openid-configuration": self._metadata,
            "/jwks": self._jwks,
            "/authorize": self._authorize,
            "/token": self._token,
            "/userinfo": self._userinfo,
        }
        return Starlette(
            routes=[
                Route(path, self._served(answer), methods=["GET", "POST"])
                for path, answer in paths.items()
            ]
        )

    def _served(self, answer: Any) -> Any:
        async def serve(request: Request) -> Response:
            path = request.url.path
            self.requests.append(path)
            self.headers.append(dict(request.headers))
            await asyncio.sleep(self.pause_s.get(path, 0))
            response: Response = self.answers.get(path) or await answer(request)
            return response

        return serve

    async def _metadata(self, _request: Request) -> Response:
        known = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "end_session_endpoint": f"{self.url}/end?tenant=7",
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
            "code_challenge_methods_supported": ["S256"],
        }
        return JSONResponse(_merged(known, self.metadata))

    async def _jwks(self, _request: Request) -> Response:
        odd = [{"kty": "oct", "k": "AAAA", "kid": "symmetric"}, {"kty": "new"}, "x"]
        return JSONResponse(
            {"keys": [*odd, *(key.as_dict(private=False) for key in self.published)]}
        )

    async def _authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        assert asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT_ID
        assert asked["code_challenge_method"] == "S256"
        assert re.fullmatch(r"[\w-]{43}", asked["code_challenge"])
        assert len(asked["state"]) >= 32
        assert len(asked["nonce"]) >= 32
        assert "openid" in asked["scope"].split()
        code = f"code-{len(self._codes)}"
        self._codes[code] = asked
        back = _merged({"code": code, "state": asked["state"], "iss": self.url}, self.response)
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(back)}", 302)

    async def _token(self, request: Request) -> Response:
        form = {
            name: values[0] for name, values in parse_qs((await request.body()).decode()).items()
        }
        pair = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {pair}":
            return JSONResponse({"error": "invalid_client"}, 401)
        asked = self._codes.get(form.get("code", ""))
        if asked is None or "used" in asked:
            return JSONResponse({"error": "invalid_grant"}, 400)
        self._codes[form["code"]] = {**asked, "used": "yes"}
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        is_same = base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == asked["code_challenge"]
        if not is_same or form["redirect_uri"] != asked["redirect_uri"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        assert form["grant_type"] == "authorization_code"
        token = self.id_token or self._id_token(asked["nonce"])
        return JSONResponse({"access_token": "access", "token_type": "Bearer", "id_token": token})

    def _id_token(self, nonce: str) -> str:
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT_ID, "iat": now, "exp": now + 300, "nonce": nonce}
        header = _merged({"alg": "RS256", "kid": self.key.kid}, self.header)
        content = _merged({**claims, **self.user}, self.claims)
        if header["alg"] == "none":
            return f"{_part(header)}.{_part(content)}."
        if isinstance(self.signing_key, bytes):  # a key that the library refuses to sign with
            head = f"{_part(header)}.{_part(content)}"
            digest = hmac.digest(self.signing_key, head.encode(), "sha256")
            return f"{head}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"
        return jwt.encode(header, content, self.signing_key or self.key, algorithms=[header["alg"]])

    async def _userinfo(self, request: Request) -> Response:
        assert request.headers["authorization"] == "Bearer access"
        return JSONResponse(self.info)


def _part(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def _merged(known: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**known, **changes}.items() if value is not None}


@asynccontextmanager
async def open_provider() -> AsyncIterator[StrictProvider]:
    """Serve a provider."""
    provider = StrictProvider()
    async with served(provider.app()) as url:
        provider.url = url
        yield provider


def oidc_settings(provider: StrictProvider, **more: Any) -> Settings:
    return Settings(
        interface_login="oidc", oidc_issuer=provider.url, oidc_client_id=CLIENT_ID, **more
    )


@asynccontextmanager
async def open_oidc_site(provider: StrictProvider, **more: Any) -> AsyncIterator[Site]:
    """Serve an interface whose people sign in at a provider."""
    async with open_site(None, oidc_settings(provider, **more)) as site:
        yield site


@dataclass
class SignIn:
    """A sign-in in a browser, step by step."""

    browser: Browser

    async def begin(self, target: str = "/rooms/demo") -> str:
        """Begin; return the URL of the provider."""
        status, said, headers = await self.browser.ask(
            "GET", "/login/start", params={"next": target}
        )
        assert status == 303, said
        return str(headers["Location"])

    async def at_provider(self, url: str) -> str:
        """Sign in at the provider; return the path of the response to the interface."""
        async with self.browser.client.get(url, allow_redirects=False) as answer:
            assert answer.status == 302, await answer.text()
            back = urlsplit(answer.headers["Location"])
            assert f"{back.scheme}://{back.netloc}" == self.browser.url
            return f"{back.path}?{back.query}"

    async def respond(self, path: str) -> tuple[int, Any, Any]:
        """Bring the provider's response to the interface, as a browser does for a person."""
        return await self.browser.ask("GET", path, headers={"Accept": "text/html"})

    async def all(self, target: str = "/rooms/demo") -> tuple[int, Any, Any]:
        """Sign in; return the interface's answer to the response of the provider."""
        return await self.respond(await self.at_provider(await self.begin(target)))
