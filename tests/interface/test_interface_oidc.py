"""Sign-in with OpenID Connect, at a strict provider."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from cordboard import emit
from cordboard.contract.errors import SettingsError
from cordboard.interface.app import create_app
from cordboard.interface.identity import require_login
from cordboard.settings import Settings
from interface.interface_support import Browser, Site
from interface.oidc_support import (
    CLIENT_ID,
    SignIn,
    StrictProvider,
    oidc_settings,
    open_oidc_site,
)

HTML = {"Accept": "text/html"}


@pytest.fixture
async def site(provider: StrictProvider) -> AsyncIterator[Site]:
    async with open_oidc_site(provider) as opened:
        yield opened


def cookies_of(browser: Browser) -> dict[str, str]:
    return {cookie.key: cookie.value for cookie in browser.client.cookie_jar}


async def page_of(browser: Browser) -> str:
    """Return the page of a room; it shows who is signed in."""
    status, text, _ = await browser.ask("GET", "/rooms/demo")
    assert status == 200
    return str(text)


async def test_person_signs_in_at_the_provider(site: Site, provider: StrictProvider) -> None:
    """The page before leads there, and the one after is the one that was asked for."""
    browser = site.browser()
    status, _, headers = await browser.ask("GET", "/rooms/team?x=1", headers=HTML)
    assert (status, headers["Location"]) == (303, "/login?next=%2Frooms%2Fteam%3Fx%3D1")
    _, text, _ = await browser.ask("GET", headers["Location"])
    assert 'href="/login/start?next=/rooms/team%3Fx%3D1"' in text
    status, _, headers = await SignIn(browser).all("/rooms/team?x=1")
    assert (status, headers["Location"]) == (303, "/rooms/team?x=1")
    assert not [name for name in cookies_of(browser) if "signin" in name]
    page = await page_of(browser)
    assert "Ada Lovelace" in page
    assert 'data-user-id="ada-1"' in page
    assert provider.requests.count("/.well-known/openid-configuration") == 1
    assert "/userinfo" not in provider.requests


async def test_names_are_not_accepted(site: Site) -> None:
    """Neither with a typed name nor with a header of a proxy."""
    assert (await site.browser().ask("POST", "/login", data={"name": "Ada"}))[0] == 401
    claim = {"X-Forwarded-User": "ada"}
    assert (await site.browser().ask("GET", "/rooms/demo", headers=claim))[0] == 303


async def test_user_id_stays_the_same_at_the_next_sign_in(site: Site) -> None:
    """The person keeps the own sessions."""
    for _ in range(2):
        browser = site.browser()
        await SignIn(browser).all()
        assert 'data-user-id="ada-1"' in await page_of(browser)


async def test_claims_of_the_user_information_count(
    provider: StrictProvider,
) -> None:
    """Some providers send only the user's id in the ID token; another user's information is refused."""
    provider.user = {"sub": "ada-1"}
    provider.info = {"sub": "ada-1", "name": "Countess", "groups": ["voice-ops"]}
    async with open_oidc_site(provider, interface_operator_groups=("voice-ops",)) as site:
        browser = site.browser()
        with emit.capture() as records:
            assert (await SignIn(browser).all())[0] == 303
        assert "Countess" in await page_of(browser)
        (told,) = [line for line in records if line["message"] == "Signed in"]
        assert told["meta"]["groups"] == ["voice-ops"]
        provider.info = {"sub": "eve-2", "name": "Countess"}
        assert (await SignIn(site.browser()).all())[0] == 502


async def test_user_and_name_come_from_the_claims_of_the_settings(provider: StrictProvider) -> None:
    """Also from within objects, and from numbers."""
    provider.user = {"sub": "x", "who": {"number": 4711}, "nick": "Ada \u202eX"}
    settings: dict[str, Any] = {"oidc_user_claim": "who.number", "oidc_name_claim": "nick"}
    async with open_oidc_site(provider, **settings) as site:
        browser = site.browser()
        await SignIn(browser).all()
        # The name has a control character of text direction, so that the id is shown.
        assert 'data-user-id="4711" data-user-name="4711"' in await page_of(browser)


@pytest.mark.parametrize("verified", [None, False, "true", True])
async def test_unverified_email_address_is_no_user_id(
    provider: StrictProvider, verified: object
) -> None:
    """Somebody could have entered that of another person."""
    provider.user = {"sub": "x", "email": "ada@example.org", "email_verified": verified}
    async with open_oidc_site(provider, oidc_user_claim="email", oidc_name_claim="sub") as site:
        assert (await SignIn(site.browser()).all())[0] == (303 if verified is True else 403)


@pytest.mark.parametrize(
    ("groups", "status"),
    [
        (["staff"], 303),
        ("staff", 303),
        (["guests"], 403),
        ([], 403),
        (None, 403),
        ({"staff": 1}, 403),
    ],
)
async def test_only_members_of_allowed_groups_sign_in(
    provider: StrictProvider, groups: object, status: int
) -> None:
    """Others see a page that says so, and nobody is signed in."""
    provider.user["groups"] = groups
    async with open_oidc_site(provider, oidc_allowed_groups=("staff",)) as site:
        browser = site.browser()
        got, text, _ = await SignIn(browser).all()
        assert got == status
        assert ("cordboard_login" in cookies_of(browser)) == (status == 303)
        assert status == 303 or "may not use this service" in text


async def test_role_comes_from_the_group_claim_or_the_list(provider: StrictProvider) -> None:
    """By the settings of each start: a login from before loses the role with its group's name."""
    provider.user["groups"] = ["staff", "voice-ops"]
    async with open_oidc_site(provider, interface_operator_groups=("voice-ops",)) as site:
        browser = site.browser()
        await SignIn(browser).all()
        identity = site.app.state.identity
        scope = scope_of(browser)
        assert identity.person(scope).role == "operator"
    for more, role in (({}, "caller"), ({"interface_operators": ("ada-1",)}, "operator")):
        app = create_app(oidc_settings(provider, **more))
        assert app.state.identity.person({**scope}).role == role


def scope_of(browser: Browser) -> dict[str, Any]:
    text = "; ".join(f"{name}={value}" for name, value in cookies_of(browser).items())
    return {"type": "http", "scheme": "http", "headers": [(b"cookie", text.encode())]}


async def test_login_gets_a_new_cookie_at_each_sign_in(site: Site) -> None:
    """A cookie that was there before, perhaps planted, is not continued (session fixation)."""
    browser = site.browser()
    await SignIn(browser).all()
    first = cookies_of(browser)["cordboard_login"]
    await SignIn(browser).all()
    assert cookies_of(browser)["cordboard_login"] != first


async def test_cookie_of_another_way_to_sign_in_is_worth_nothing(
    site: Site, provider: StrictProvider
) -> None:
    """Nor that of another provider or client: the same id is another person there."""
    browser = site.browser()
    await SignIn(browser).all()
    scope = scope_of(browser)
    assert site.app.state.identity.person({**scope}).user_id == "ada-1"
    for settings in (
        Settings(),
        oidc_settings(provider, oidc_scopes=("openid",), interface_url="http://127.0.0.1"),
        Settings(interface_login="oidc", oidc_issuer=provider.url, oidc_client_id="another"),
        Settings(
            interface_login="oidc", oidc_issuer=f"{provider.url}/other", oidc_client_id=CLIENT_ID
        ),
    ):
        person = create_app(settings).state.identity.person({**scope})
        assert (person is not None) == (settings.oidc_scopes == ("openid",))


async def test_sign_out_ends_here_and_leads_to_the_provider(
    site: Site, provider: StrictProvider
) -> None:
    """With what the provider needs; a copy of the cookie is worth nothing then."""
    browser = site.browser()
    await SignIn(browser).all()
    copied = scope_of(browser)
    status, text, headers = await browser.ask("POST", "/logout")
    assert (status, "Clear" in headers) == (200, False)
    url = text.partition('<a class="button" href="')[2].partition('"')[0].replace("&amp;", "&")
    query = parse_qs(urlsplit(url).query)
    assert url.startswith(f"{provider.url}/end?tenant=7&")
    assert query["client_id"] == [CLIENT_ID]
    assert query["post_logout_redirect_uri"] == [f"{site.url}/login"]
    assert query["id_token_hint"][0].count(".") == 2
    assert site.app.state.identity.person(copied) is None
    assert (await browser.ask("GET", "/rooms/demo"))[0] == 303
    # Without the cookie of the ID token the provider asks the person.
    _, text, _ = await site.browser().ask("POST", "/logout")
    assert "id_token_hint" not in text


async def test_sign_out_works_without_the_provider(
    provider: StrictProvider,
) -> None:
    """Also if it has no such address; the page says what is left to do."""
    provider.metadata = {"end_session_endpoint": None}
    async with open_oidc_site(provider) as site:
        browser = site.browser()
        await SignIn(browser).all()
        status, text, _ = await browser.ask("POST", "/logout")
        assert (status, "may still be signed in" in text) == (200, True)
        assert (await browser.ask("GET", "/rooms/demo"))[0] == 303


async def test_provider_learns_nothing_of_sessions(site: Site, provider: StrictProvider) -> None:
    """No header of Cordboard goes there."""
    browser = site.browser()
    await SignIn(browser).all()
    ours = ("x-session", "x-user", "traceparent", "baggage", "x-bot")
    sent = [headers for headers in provider.headers if "aiohttp" in headers.get("user-agent", "")]
    assert sent
    assert not [name for headers in sent for name in headers if name.startswith(ours)]


async def test_several_tabs_sign_in_at_the_same_time(site: Site) -> None:
    """Each has a cookie of its own; too many are dropped."""
    browser = site.browser()
    urls = [await SignIn(browser).begin(f"/rooms/r{i}") for i in range(5)]
    for i, url in enumerate(urls):
        sign_in = SignIn(browser)
        status, _, headers = await sign_in.respond(await sign_in.at_provider(url))
        assert (status, headers["Location"]) == (303, f"/rooms/r{i}")
    for _ in range(20):
        await SignIn(browser).begin()
    assert len([name for name in cookies_of(browser) if "signin" in name]) <= 9


async def test_number_of_sign_ins_is_limited(provider: StrictProvider) -> None:
    """As that of logins by name."""
    async with open_oidc_site(provider, interface_logins_per_minute=3) as site:
        found = [(await site.browser().ask("GET", "/login/start"))[0] for _ in range(5)]
    assert found == [303, 303, 303, 429, 429]


async def test_person_is_sent_to_no_other_site(site: Site) -> None:
    """The page to open afterwards is one of this interface."""
    for target in ("//evil.example", "https://evil.example", "/\\evil.example"):
        status, _, _ = await site.browser().ask("GET", "/login/start", params={"next": target})
        assert status == 404


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"oidc_issuer": None}, "CORDBOARD_OIDC_ISSUER"),
        ({"oidc_client_id": None}, "CORDBOARD_OIDC_CLIENT_ID"),
        ({"oidc_issuer": "http://login.example"}, "https"),
        ({"oidc_issuer": "https://login.example?x=1"}, "without a query"),
        ({"oidc_scopes": ("profile",)}, "openid"),
        ({"oidc_idle_minutes": 5}, "interface_max_duration_s"),
    ],
)
def test_invalid_settings_are_reported_at_the_start(more: dict[str, Any], words: str) -> None:
    """With the setting to change."""
    known = {"oidc_issuer": "https://login.example", "oidc_client_id": "voice"}
    with pytest.raises(SettingsError, match=words):
        create_app(Settings(interface_login="oidc", **{**known, **more}))


@pytest.mark.parametrize(
    ("local", "settings", "words"),
    [
        (True, Settings(), None),
        (True, Settings(interface_login="name"), None),
        (True, Settings(interface_url="https://voice.example"), "CORDBOARD_INTERFACE_LOGIN"),
        (False, Settings(), "CORDBOARD_INTERFACE_LOGIN"),
        (False, Settings(interface_login="name"), "CORDBOARD_INTERFACE_LOGIN"),
        # The interface then refuses other machines: test_interface_own_machine.py.
        (False, Settings(interface_url="http://localhost:3000"), None),
        (False, Settings(interface_login="oidc"), "CORDBOARD_INTERFACE_URL"),
        (
            False,
            Settings(interface_login="oidc", interface_url="http://voice.example"),
            "CORDBOARD_INTERFACE_URL",
        ),
        (False, Settings(interface_login="oidc", interface_url="https://voice.example"), None),
        (False, Settings(interface_login="header"), None),
    ],
)
def test_public_interface_needs_authentication(
    local: bool, settings: Settings, words: str | None
) -> None:
    """A name is none; the message says what to set."""
    if words is None:
        require_login("0.0.0.0", local, settings)
        return
    with pytest.raises(SettingsError) as raised:
        require_login("0.0.0.0", local, settings)
    assert words in str(raised.value)
