"""Login by name: the name, the cookie, and claims that do not count."""

from collections.abc import Callable

import pytest
from starlette.responses import Response

from cordboard import emit
from cordboard.contract.errors import InvalidValueError, SettingsError
from cordboard.environment import SESSION_SECRET
from cordboard.interface.login import (
    COOKIE,
    NAME_MAX_CHARS,
    SECURE_COOKIE,
    ForgedError,
    LoginCookies,
    account_by_name,
    check_name,
    require_session_secret,
)
from interface.interface_support import Site, an_id

FAMILY = "\U0001f469\u200d\U0001f467"


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("Ada", "Ada"),
        ("  Ada Lovelace \n", "Ada Lovelace"),
        ("Zażółć gęślą", "Zażółć gęślą"),
        ("A\u030angstro\u0308m", "Ångström"),
        ("李雷", "李雷"),
        (FAMILY, FAMILY),
        ("نیما\u200cپور", "نیما\u200cپور"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("x" * NAME_MAX_CHARS, "x" * NAME_MAX_CHARS),
    ],
)
def test_names_in_any_script_are_accepted(typed: str, kept: str) -> None:
    """A name is trimmed and composed, and otherwise kept as typed."""
    assert check_name(typed) == kept


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("", "enter your name"),
        ("   ", "enter your name"),
        ("\u200b\u200d", "enter your name"),
        ("x" * (NAME_MAX_CHARS + 1), "has 65 characters"),
        ("Ada\tLovelace", "control characters"),
        ("Ada\x1b[2J", "control characters"),
        ("Ada\nEve", "control characters"),
        ("Ada\u2028", None),
        ("A\u2028da", "control characters"),
        ("\u202eadA", "control characters"),
    ],
)
def test_long_empty_and_invisible_names_are_refused(typed: str, words: str | None) -> None:
    """The message says why; white space at the ends is removed first."""
    if words is None:
        assert check_name(typed) == "Ada"
        return
    with pytest.raises(InvalidValueError) as raised:
        check_name(typed)
    assert words in str(raised.value)


async def test_login_returns_to_the_requested_room(site: Site) -> None:
    """A person who is not signed in is asked for a name first."""
    browser = site.browser()
    status, _, headers = await browser.ask("GET", "/rooms/standup")
    assert (status, headers["Location"]) == (303, "/login?next=%2Frooms%2Fstandup")
    status, text, _ = await browser.ask("GET", headers["Location"])
    assert (status, 'value="/rooms/standup"' in text) == (200, True)
    status, _, headers = await browser.ask(
        "POST", "/login", data={"name": "Ada", "next": "/rooms/standup"}
    )
    assert (status, headers["Location"]) == (303, "/rooms/standup")
    assert (await browser.ask("GET", "/rooms/standup"))[0] == 200


async def test_cookie_is_hidden_from_scripts_and_other_sites(site: Site) -> None:
    """HttpOnly and SameSite=Lax; over https also Secure and bound to the host."""
    _, _, headers = await site.browser().ask("POST", "/login", data={"name": "Ada"})
    cookie = headers["Set-Cookie"]
    assert cookie.startswith("cordboard_login=")
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    proxied = {"X-Forwarded-Proto": "https"}
    _, _, headers = await site.browser().ask(
        "POST", "/login", data={"name": "Ada"}, headers=proxied
    )
    assert headers["Set-Cookie"].startswith("__Host-cordboard_login=")
    assert "; Secure" in headers["Set-Cookie"]


async def test_refused_name_is_shown_again_in_the_form(site: Site) -> None:
    """The form has the escaped name and the error."""
    status, text, headers = await site.browser().ask("POST", "/login", data={"name": '"><b>\x07'})
    assert status == 422
    assert 'role="alert"' in text
    assert "<b>" not in text
    assert "Set-Cookie" not in headers


async def test_forged_cookie_signs_nobody_in(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it was changed or signed with another secret."""
    browser = await site.browser().sign_in()
    assert (await browser.ask("GET", "/rooms/demo"))[0] == 200
    (cookie,) = browser.client.cookie_jar
    forged = {"Cookie": f"cordboard_login={cookie.value[:-2]}xx"}
    assert (await site.browser().ask("GET", "/rooms/demo", headers=forged))[0] == 303
    monkeypatch.setenv(SESSION_SECRET, "another")
    assert (await browser.ask("GET", "/rooms/demo"))[0] == 303


async def test_logout_deletes_the_cookie(site: Site) -> None:
    """The person is then asked for a name again."""
    browser = await site.browser().sign_in()
    status, _, headers = await browser.ask("POST", "/logout")
    assert (status, headers["Location"]) == (303, "/login")
    assert (await browser.ask("GET", "/rooms/demo"))[0] == 303


async def test_each_login_is_another_user(site: Site) -> None:
    """Two logins with the same name are two users; one login stays one user."""
    ada, other = await site.browser().sign_in(), await site.browser().sign_in()
    await ada.join("a1")
    await ada.join("a2", "webrtc:two")
    await other.join("b1", "webrtc:three")
    ids = [(await site.store.session(an_id(sid))).user_id for sid in ("a1", "a2", "b1")]
    assert ids[0] == ids[1] != ids[2]


async def test_identity_headers_of_a_browser_are_replaced(site: Site) -> None:
    """Every line has the identity of the login, not that of headers or baggage."""
    browser = await site.browser().sign_in("Ada")
    claims = {"X-User-Id": "root", "X-User-Name": "Root", "baggage": "user.id=root,session.id=x"}
    with emit.capture() as records:
        await browser.ask("GET", "/rooms/demo", headers={**claims, "X-Session-Id": an_id("s-1")})
        await site.browser().ask("GET", "/login", headers=claims)
    mine, stranger = [
        r
        for r in records
        if r.get("meta", {}).get("peer") and r["meta"]["path"] in {"/rooms/demo", "/login"}
    ]
    assert (mine["sessionId"], mine["userName"]) == (an_id("s-1"), "Ada")
    assert mine["userId"].startswith("u-")
    assert (stranger["userId"], stranger["userName"]) == (None, None)


@pytest.mark.parametrize(
    ("host", "secret", "refused"),
    [
        ("127.0.0.1", (), False),
        ("0.0.0.0", ("s" * 16,), False),
        ("0.0.0.0", ("s" * 16, "short"), True),
        ("0.0.0.0", (), True),
    ],
)
def test_public_interface_needs_a_session_secret(
    host: str, secret: tuple[str, ...], refused: bool
) -> None:
    """Logins beyond loopback need a secret that survives a restart."""
    if not refused:
        require_session_secret(host, secret)
        return
    with pytest.raises(SettingsError) as raised:
        require_session_secret(host, secret)
    assert "CORDBOARD_SESSION_SECRET" in str(raised.value)


HOUR = 3600.0


def a_cookie(response: Response) -> dict[str, str]:
    name, _, rest = response.headers["set-cookie"].partition("=")
    return {name: rest.partition(";")[0]}


def signed_in(login: LoginCookies, *, secure: bool = False) -> dict[str, str]:
    response = Response()
    login.sign_in(account_by_name("Ada"), response, secure=secure)
    return a_cookie(response)


def at(hours: float) -> Callable[[], float]:
    return lambda: 1_790_000_000.0 + hours * HOUR


@pytest.mark.parametrize(
    ("hours", "known"),
    [(0, True), (-59 / 3600, True), (-61 / 3600, False), (11.9, True), (12.1, False)],
)
def test_login_ends_after_twelve_hours_without_a_page(hours: float, known: bool) -> None:
    """A replica whose clock is up to a minute behind accepts it."""
    cookies = signed_in(LoginCookies(lambda: ("a secret",), at(0)))
    found = LoginCookies(lambda: ("a secret",), at(hours)).read(cookies, secure=False)
    assert (found is not None) == known


def test_login_in_use_ends_after_a_month() -> None:
    """Pages renew it for the same person until the thirtieth day."""
    cookies = signed_in(LoginCookies(lambda: ("a secret",), at(0)))
    for hours in range(6, 30 * 24 + 1, 6):
        login = LoginCookies(lambda: ("a secret",), at(hours))
        known = login.read(cookies, secure=False)
        assert known is not None
        response = Response()
        login.renew(known, response, secure=False)
        cookies = a_cookie(response)
    assert LoginCookies(lambda: ("a secret",), at(30 * 24 + 1)).read(cookies, secure=False) is None


def test_new_login_is_not_renewed() -> None:
    """Not every page sets a cookie."""
    login = LoginCookies(lambda: ("a secret",), at(0))
    known = login.read(signed_in(login), secure=False)
    assert known is not None
    response = Response()
    login.renew(known, response, secure=False)
    assert "set-cookie" not in response.headers


def test_rotated_secret_ends_no_login() -> None:
    """The old secret counts as the previous one; without it, its cookies are forged."""
    cookies = signed_in(LoginCookies(lambda: ("old",), at(0)))
    both = LoginCookies(lambda: ("new", "old"), at(0))
    known = both.read(cookies, secure=False)
    assert known is not None
    assert known.account.name == "Ada"
    with pytest.raises(ForgedError):
        LoginCookies(lambda: ("new",), at(0)).read(cookies, secure=False)
    with pytest.raises(ForgedError):
        LoginCookies(lambda: ("old",), at(0)).read(signed_in(both), secure=False)


@pytest.mark.parametrize("found", [(), ("",), ("", "old"), ("new", "")])
def test_nothing_is_signed_with_an_empty_key(found: tuple[str, ...]) -> None:
    """Nor is anything verified: everybody knows an empty key."""
    cookies = signed_in(LoginCookies(lambda: ("old",), at(0)))
    login = LoginCookies(lambda: found, at(0))
    with pytest.raises(SettingsError):
        login.sign_in(account_by_name("Ada"), Response(), secure=False)
    with pytest.raises(SettingsError):
        login.read(cookies, secure=False)


def test_plain_cookie_does_not_count_over_https() -> None:
    """Another host of the domain can set it, and would sign a person in as another one."""
    login = LoginCookies(lambda: ("a secret",), at(0))
    plain, secure = signed_in(login), signed_in(login, secure=True)
    assert (set(plain), set(secure)) == ({COOKIE}, {SECURE_COOKIE})
    assert login.read(plain, secure=True) is None
    assert login.read(secure, secure=False) is None
    assert login.read(plain | secure, secure=True) is not None


async def test_copy_of_a_cookie_ends_with_the_logout(site: Site) -> None:
    """The process that handled the logout refuses copies of the cookie."""
    browser = await site.browser().sign_in()
    (cookie,) = browser.client.cookie_jar
    copied = {"Cookie": f"{cookie.key}={cookie.value}"}
    assert (await site.browser().ask("GET", "/rooms/demo", headers=copied))[0] == 200
    await browser.ask("POST", "/logout")
    assert (await site.browser().ask("GET", "/rooms/demo", headers=copied))[0] == 303


async def test_forged_cookies_are_logged_and_sampled(site: Site) -> None:
    """The warning has the sender's address; many of them write few lines."""
    forged = {"Cookie": "cordboard_login=eyJ1c2VyX2lkIjoidS0xIn0.x.y"}
    with emit.capture() as records:
        for _ in range(30):
            await site.browser().ask("GET", "/login", headers=forged)
    told = [r for r in records if r.get("event") == "auth.refused"]
    assert 1 <= len(told) <= 21
    assert (told[0]["level"], told[0]["meta"]["peer"]) == ("warn", "127.0.0.1")
