"""Sign-in with OpenID Connect on bad days: the documented end of each fault."""

import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from joserfc.jwk import OctKey, RSAKey
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response

from cordboard import emit
from cordboard.environment import OIDC_SECRET, SESSION_SECRET
from cordboard.interface.oidc import attempts as attempts_module
from cordboard.interface.oidc import provider as provider_module
from cordboard.web.rate_limits import Sampler
from interface.interface_support import Site
from interface.oidc_support import (
    CLIENT_SECRET,
    KEYS,
    SignIn,
    StrictProvider,
    open_oidc_site,
    open_provider,
)

WELL_KNOWN = "/.well-known/openid-configuration"


@pytest.fixture
async def site(provider: StrictProvider) -> AsyncIterator[Site]:
    async with open_oidc_site(provider, interface_logins_per_minute=1000) as opened:
        yield opened


async def signed_in(site: Site) -> int:
    """Sign in with a new browser; return the status, which is 303 for success."""
    browser = site.browser()
    status, text, headers = await SignIn(browser).all()
    is_signed_in = (await browser.ask("GET", "/rooms/demo"))[0] == 200
    assert is_signed_in == (status == 303)
    if status != 303:
        assert "Set-Cookie" not in headers
        assert '<a class="button" href="/">' in text  # a page of this site, with a way out
    return status


async def begun(site: Site) -> int:
    status, _, _ = await site.browser().ask("GET", "/login/start")
    return status


def at(seconds: int) -> int:
    return int(time.time()) + seconds


FORGED: dict[str, Callable[[], dict[str, Any]]] = {
    "nonce of another sign-in": lambda: {"claims": {"nonce": "n" * 43}},
    "no nonce": lambda: {"claims": {"nonce": None}},
    "another audience": lambda: {"claims": {"aud": "another"}},
    "another audience beside ours": lambda: {"claims": {"aud": ["voice", "another"]}},
    "another party": lambda: {"claims": {"azp": "another"}},
    "another issuer": lambda: {"claims": {"iss": "https://evil.example"}},
    "no issuer": lambda: {"claims": {"iss": None}},
    "no sub": lambda: {"claims": {"sub": None}},
    "a sub that is no text": lambda: {"claims": {"sub": ["ada-1"]}},
    "an empty sub": lambda: {"claims": {"sub": ""}},
    "no end": lambda: {"claims": {"exp": None}},
    "control characters in the id": lambda: {"claims": {"sub": "ada\n1"}},
    "hash of another access token": lambda: {"claims": {"at_hash": "AAAA"}},
    "expired": lambda: {"claims": {"iat": at(-400), "exp": at(-100)}},
    "not yet valid": lambda: {"claims": {"iat": at(200), "exp": at(500)}},
    "not before": lambda: {"claims": {"nbf": at(200)}},
    "no signature": lambda: {"header": {"alg": "none", "kid": None}},
    "a shared secret": lambda: {
        "header": {"alg": "HS256", "kid": None},
        "signing_key": OctKey.import_key(CLIENT_SECRET),
    },
    "the public key as a secret": lambda: {
        "header": {"alg": "HS256"},
        "signing_key": KEYS[0].as_pem(private=False),
    },
    "another key with a known name": lambda: {
        "signing_key": RSAKey.generate_key(2048),
        "header": {"kid": KEYS[0].kid},
    },
    "an unknown key": lambda: {
        "signing_key": RSAKey.generate_key(2048),
        "header": {"kid": "new"},
    },
    "its own key": lambda: {
        "signing_key": KEYS[1],
        "header": {"kid": None, "jwk": KEYS[1].as_dict(private=False)},
    },
    "no token": lambda: {"id_token": "x.y.z"},
    "too long a token": lambda: {"id_token": "x" * 70_000},
}
"""False ID tokens, as changes of the provider."""
SKEWED = {"expired", "not yet valid", "not before"}


async def test_false_id_token_signs_nobody_in(site: Site, provider: StrictProvider) -> None:
    """The page names no reason; the log has it, without the token."""
    for fault, changes in FORGED.items():
        provider.claims, provider.header = {}, {}
        provider.signing_key, provider.id_token = None, None
        for attribute, value in changes().items():
            setattr(provider, attribute, value)
        site.app.state.sign_in_refusals = Sampler()  # it would leave lines out after 20
        with emit.capture() as records:
            assert await signed_in(site) == 502, fault
        check_refusal(fault, records)


def check_refusal(fault: str, records: list[dict[str, Any]]) -> None:
    (told,) = [line for line in records if line.get("event") == "auth.refused"]
    assert told["level"] == ("error" if fault in SKEWED else "warn")
    assert told["meta"]["code"] == (
        "identity_provider_clock" if fault in SKEWED else "identity_provider_invalid"
    )
    assert "eyJ" not in str(told)


async def test_clocks_may_differ_by_a_minute(site: Site, provider: StrictProvider) -> None:
    """Beyond that the sign-in fails, and the log says that the clocks differ."""
    for skew_s in (-50, 50):
        provider.claims = {"iat": at(skew_s), "nbf": at(skew_s), "exp": at(skew_s + 10)}
        assert await signed_in(site) == 303


async def test_state_signs_in_once_and_in_its_own_browser_only(
    site: Site, provider: StrictProvider
) -> None:
    """A response that somebody has copied or planted (login CSRF) is worth nothing."""
    ada, eve = SignIn(site.browser()), SignIn(site.browser())
    path = await ada.at_provider(await ada.begin())
    assert (await eve.respond(path))[0] == 400
    own = await eve.at_provider(await eve.begin())
    mixed = own.replace(own.partition("state=")[2].partition("&")[0], path.partition("state=")[2].partition("&")[0])  # fmt: skip
    assert (await eve.respond(mixed))[0] == 400
    kept = {cookie.key: cookie.value for cookie in ada.browser.client.cookie_jar}
    assert (await ada.respond(path))[0] == 303
    asked = len(provider.requests)
    # Again, even with the cookies of the first time.
    replay = {"Cookie": "; ".join(f"{name}={value}" for name, value in kept.items())}
    status, _, _ = await site.browser().ask("GET", path, headers=replay)
    assert (status, len(provider.requests)) == (400, asked)


async def test_code_signs_in_once(site: Site) -> None:
    """The provider refuses it the second time, in whatever sign-in."""
    first = SignIn(site.browser())
    path = await first.at_provider(await first.begin())
    assert (await first.respond(path))[0] == 303
    second = SignIn(site.browser())
    other = await second.at_provider(await second.begin())
    replay = other.replace(other.partition("code=")[2].partition("&")[0], path.partition("code=")[2].partition("&")[0])  # fmt: skip
    assert (await second.respond(replay))[0] == 400


async def test_stolen_code_is_worth_nothing_in_another_sign_in(site: Site) -> None:
    """An unused code needs the secret of its own sign-in (PKCE)."""
    ada, eve = SignIn(site.browser()), SignIn(site.browser())
    stolen = await ada.at_provider(await ada.begin())
    own = await eve.at_provider(await eve.begin())
    injected = own.replace(own.partition("code=")[2].partition("&")[0], stolen.partition("code=")[2].partition("&")[0])  # fmt: skip
    assert (await eve.respond(injected))[0] == 400


async def test_old_sign_in_cannot_be_completed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """After ten minutes; the page leads to a new one."""
    sign_in = SignIn(site.browser())
    path = await sign_in.at_provider(await sign_in.begin())
    monkeypatch.setattr(attempts_module, "AGE_MAX_S", -1)
    status, text, _ = await sign_in.respond(path)
    assert (status, "too old" in text) == (400, True)


async def test_response_without_a_sign_in_is_refused(site: Site, provider: StrictProvider) -> None:
    """And asks the provider nothing."""
    for query in ("", "?state=", "?state=%00", "?state=é&code=x", "?code=x", "?error=x", "?state=" + "a" * 5000):  # fmt: skip
        status, _, _ = await site.browser().ask("GET", f"/login/callback{query}")
        assert (status, provider.requests) == (400, []), query


RESPONSES: list[tuple[dict[str, Any], int]] = [
    ({"error": "access_denied", "code": None}, 403),
    ({"error": "access_denied", "error_description": "<script>alert(1)</script>"}, 403),
    ({"error": "temporarily_unavailable", "code": None}, 503),
    ({"error": "invalid_scope", "code": None}, 502),
    ({"code": None}, 502),
    ({"iss": "https://evil.example"}, 502),
    ({"code": "x" * 5_000}, 400),
]


async def test_response_of_the_provider_without_a_sign_in(
    site: Site, provider: StrictProvider
) -> None:
    """The provider's words reach the log, and no page."""
    for response, status in RESPONSES:
        provider.response = response
        browser = site.browser()
        got, text, _ = await SignIn(browser).all()
        assert got == status, response
        assert "script" not in text
        assert (await browser.ask("GET", "/rooms/demo"))[0] == 303


async def test_response_must_name_the_issuer_if_the_provider_says_so(
    site: Site, provider: StrictProvider
) -> None:
    """RFC 9207, against responses of another provider."""
    provider.response = {"iss": None}  # type: ignore[dict-item]  # removed
    assert await signed_in(site) == 303
    async with open_oidc_site(provider) as other:
        provider.metadata = {"authorization_response_iss_parameter_supported": True}
        assert await signed_in(other) == 502


FALSE_METADATA: list[dict[str, Any]] = [
    {"issuer": "https://evil.example"},
    {"issuer": None},
    {"token_endpoint": "http://evil.example/token"},
    {"authorization_endpoint": "javascript:alert(1)"},
    {"jwks_uri": 5},
    {"end_session_endpoint": "http://evil.example/end"},
]


async def test_false_metadata_is_not_used(site: Site, provider: StrictProvider) -> None:
    """Those of another issuer, and those with addresses that are not encrypted."""
    for metadata in FALSE_METADATA:
        provider.metadata = metadata
        assert await begun(site) == 502, metadata
    assert set(provider.requests) == {WELL_KNOWN}


UNUSABLE: list[tuple[Response, int]] = [
    (PlainTextResponse("<html>", 200), 502),
    (JSONResponse([1], 200), 502),
    (PlainTextResponse("[" * 100_000, 200), 502),
    (PlainTextResponse("x", 500), 503),
    (RedirectResponse("http://127.0.0.1:9/", 302), 503),
    (PlainTextResponse("x" * 300_000, 200), 503),
]


async def test_unusable_answer_of_the_provider(site: Site, provider: StrictProvider) -> None:
    """No redirect is followed, and no answer of any size is kept; the next sign-in succeeds."""
    for answer, status in UNUSABLE:
        provider.answers = {WELL_KNOWN: answer}
        assert await begun(site) == status, answer.body[:20]
    for answer, status in UNUSABLE:
        provider.answers = {"/jwks": answer}
        assert await signed_in(site) == status, answer.body[:20]
    provider.answers.clear()
    assert await signed_in(site) == 303


UNUSABLE_TOKENS: list[tuple[Response, int]] = [
    (JSONResponse({"error": "invalid_client"}, 401), 502),
    (JSONResponse({"error": ["x"]}, 400), 502),
    (PlainTextResponse("busy", 503), 503),
    (JSONResponse({"access_token": "a"}, 200), 502),
    (RedirectResponse("http://127.0.0.1:9/", 307), 502),
]


async def test_unusable_answer_to_the_code(site: Site, provider: StrictProvider) -> None:
    """The secret of this interface follows no redirect."""
    for answer, status in UNUSABLE_TOKENS:
        provider.answers = {"/token": answer}
        assert await signed_in(site) == status, answer.body[:20]


async def test_slow_provider_is_given_up(
    site: Site, provider: StrictProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are served meanwhile, and the page says to try again."""
    for path in (WELL_KNOWN, "/token", "/jwks"):
        provider.pause_s = {path: 300}
        # Long enough for the answers of the other paths on a busy machine.
        monkeypatch.setattr(provider_module, "TIMEOUT_S", 1)
        assert (await begun(site) if path == WELL_KNOWN else await signed_in(site)) == 503, path
        assert (await site.browser().ask("GET", "/healthz"))[0] == 200


async def test_provider_that_is_away_ends_no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is needed for new sign-ins alone; the interface starts without it."""
    monkeypatch.setenv(SESSION_SECRET, "signs-the-cookies")
    monkeypatch.setenv(OIDC_SECRET, CLIENT_SECRET)
    async with open_provider() as provider, open_oidc_site(provider) as site:
        browser = site.browser()
        assert (await SignIn(browser).all())[0] == 303
        url = provider.url
    away = StrictProvider(url=url)
    async with open_oidc_site(away) as site:
        again = site.browser()
        again.client.cookie_jar.update_cookies(
            {cookie.key: cookie.value for cookie in browser.client.cookie_jar}
        )
        assert (await again.ask("GET", "/rooms/demo"))[0] == 200
        status, text, headers = await site.browser().ask(
            "GET", "/login/start", headers={"Accept": "text/html"}
        )
        assert (status, headers["Retry-After"], "does not answer" in text) == (503, "10", True)
        assert (await again.ask("POST", "/logout"))[0] == 200


async def test_changed_keys_are_read_again(
    site: Site, provider: StrictProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the first token of an unknown key, at most every ten seconds; the old keys count no more."""
    assert await signed_in(site) == 303
    provider.key = KEYS[1]
    provider.published = [KEYS[1]]
    read = provider.requests.count("/jwks")
    assert await signed_in(site) == 502
    assert provider.requests.count("/jwks") == read
    monkeypatch.setattr(provider_module, "KEYS_PAUSE_S", 0)
    assert await signed_in(site) == 303
    assert provider.requests.count("/jwks") == read + 1
    provider.key = KEYS[0]
    assert await signed_in(site) == 502
    # The name of a key may stay the same.
    provider.signing_key = RSAKey.import_key({**RSAKey.generate_key(2048).as_dict(private=True), "kid": str(KEYS[1].kid)})  # fmt: skip
    provider.published = [provider.signing_key]
    provider.header = {"kid": KEYS[1].kid}
    assert await signed_in(site) == 303


async def test_token_without_a_key_id_is_tried_with_each_key(
    site: Site, provider: StrictProvider
) -> None:
    """Small providers send none."""
    provider.header = {"kid": None}
    provider.published = [KEYS[1], KEYS[0]]
    assert await signed_in(site) == 303


async def test_public_client_sends_no_secret(
    provider: StrictProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This provider wants one, so the sign-in fails there, with PKCE as the only proof."""
    monkeypatch.delenv(OIDC_SECRET)
    async with open_oidc_site(provider) as site:
        assert await signed_in(site) == 502
    sent = [headers for headers in provider.headers if "aiohttp" in headers.get("user-agent", "")]
    assert not [headers for headers in sent if "authorization" in headers]
