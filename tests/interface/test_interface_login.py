"""Who somebody is: the name, the cookie, and that nothing else says it."""

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
def test_names_of_all_kinds_are_kept(typed: str, kept: str) -> None:
    """Any Unicode is a name: trimmed, composed, else as it was typed."""
    assert check_name(typed) == kept


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("", "type your name"),
        ("   ", "type your name"),
        ("\u200b\u200d", "type your name"),
        ("x" * (NAME_MAX_CHARS + 1), "has 65 characters"),
        ("Ada\tLovelace", "control characters"),
        ("Ada\x1b[2J", "control characters"),
        ("Ada\nEve", "control characters"),
        ("Ada\u2028", None),
        ("A\u2028da", "control characters"),
        ("\u202eadA", "control characters"),
    ],
)
def test_names_that_hide_something_are_refused(typed: str, words: str | None) -> None:
    """Too long, empty to the eye, or with controls: refused in clear words (edges are trimmed)."""
    if words is None:
        assert check_name(typed) == "Ada"
        return
    with pytest.raises(InvalidValueError) as raised:
        check_name(typed)
    assert words in str(raised.value)


async def test_signing_in_leads_to_the_room(site: Site) -> None:
    """A stranger is asked for a name first, and comes to the room that was asked for."""
    browser = site.browser()
    status, _, headers = await browser.ask("GET", "/rooms/standup")
    assert (status, headers["Location"]) == (303, "/login?room=standup")
    status, text, _ = await browser.ask("GET", headers["Location"])
    assert (status, 'value="standup"' in text) == (200, True)
    status, _, headers = await browser.ask(
        "POST", "/login", data={"name": "Ada", "room": "standup"}
    )
    assert (status, headers["Location"]) == (303, "/rooms/standup")
    assert (await browser.ask("GET", "/rooms/standup"))[0] == 200


async def test_the_cookie_is_kept_from_scripts_and_other_sites(site: Site) -> None:
    """HttpOnly and SameSite=Lax; Secure, and bound to the host, where the page came by https."""
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


async def test_a_refused_name_is_shown_again(site: Site) -> None:
    """The form comes back with what was typed and what is wrong with it, escaped."""
    status, text, headers = await site.browser().ask("POST", "/login", data={"name": '"><b>\x07'})
    assert status == 422
    assert "control characters" in text
    assert "<b>" not in text
    assert "Set-Cookie" not in headers


async def test_a_forged_cookie_is_nobody(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cookie that was changed, or signed with another secret, signs nobody in."""
    browser = await site.browser().sign_in()
    assert (await browser.ask("GET", "/rooms/demo"))[0] == 200
    (cookie,) = browser.client.cookie_jar
    forged = {"Cookie": f"cordboard_login={cookie.value[:-2]}xx"}
    assert (await site.browser().ask("GET", "/rooms/demo", headers=forged))[0] == 303
    monkeypatch.setenv(SESSION_SECRET, "another")
    assert (await browser.ask("GET", "/rooms/demo"))[0] == 303


async def test_signing_out(site: Site) -> None:
    """Signing out takes the cookie back."""
    browser = await site.browser().sign_in()
    status, _, headers = await browser.ask("POST", "/logout")
    assert (status, headers["Location"]) == (303, "/login")
    assert (await browser.ask("GET", "/rooms/demo"))[0] == 303


async def test_each_login_is_a_user_of_its_own(site: Site) -> None:
    """The same name twice is two users; one login is one user, however often it comes."""
    ada, other = await site.browser().sign_in(), await site.browser().sign_in()
    await ada.join("a1")
    await ada.join("a2", "webrtc:two")
    await other.join("b1", "webrtc:three")
    ids = [(await site.store.session(an_id(sid))).user_id for sid in ("a1", "a2", "b1")]
    assert ids[0] == ids[1] != ids[2]


async def test_what_a_browser_claims_is_not_believed(site: Site) -> None:
    """Headers and baggage with an identity are replaced by the login's, in every line."""
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
def test_beyond_loopback_a_secret_is_needed(
    host: str, secret: tuple[str, ...], refused: bool
) -> None:
    """For others to sign in, the cookies need a secret that outlives a restart."""
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
    login.sign_in("Ada", response, secure=secure)
    return a_cookie(response)


def at(hours: float) -> Callable[[], float]:
    return lambda: 1_790_000_000.0 + hours * HOUR


@pytest.mark.parametrize(
    ("hours", "known"),
    [(0, True), (-59 / 3600, True), (-61 / 3600, False), (11.9, True), (12.1, False)],
)
def test_a_login_lasts_while_it_is_used(hours: float, known: bool) -> None:
    """12 h without a page end it; a replica whose clock is up to a minute behind takes it."""
    cookies = signed_in(LoginCookies(lambda: ("a secret",), at(0)))
    found = LoginCookies(lambda: ("a secret",), at(hours)).known(cookies, secure=False)
    assert (found is not None) == known


def test_a_login_that_is_used_ends_after_a_month() -> None:
    """Each page signs it anew, for the same person, until the thirtieth day."""
    cookies = signed_in(LoginCookies(lambda: ("a secret",), at(0)))
    for hours in range(6, 30 * 24 + 1, 6):
        login = LoginCookies(lambda: ("a secret",), at(hours))
        known = login.known(cookies, secure=False)
        assert known is not None
        response = Response()
        login.renew(known, response, secure=False)
        cookies = a_cookie(response)
    assert LoginCookies(lambda: ("a secret",), at(30 * 24 + 1)).known(cookies, secure=False) is None


def test_a_fresh_login_is_not_signed_anew() -> None:
    """Not each page sets a cookie."""
    login = LoginCookies(lambda: ("a secret",), at(0))
    known = login.known(signed_in(login), secure=False)
    assert known is not None
    response = Response()
    login.renew(known, response, secure=False)
    assert "set-cookie" not in response.headers


def test_a_new_secret_ends_no_login() -> None:
    """The old secret still counts as the previous one; without it, its cookies are forged ones."""
    cookies = signed_in(LoginCookies(lambda: ("old",), at(0)))
    both = LoginCookies(lambda: ("new", "old"), at(0))
    known = both.known(cookies, secure=False)
    assert known is not None
    assert known.person.name == "Ada"
    with pytest.raises(ForgedError):
        LoginCookies(lambda: ("new",), at(0)).known(cookies, secure=False)
    with pytest.raises(ForgedError):
        LoginCookies(lambda: ("old",), at(0)).known(signed_in(both), secure=False)


@pytest.mark.parametrize("found", [(), ("",), ("", "old"), ("new", "")])
def test_nothing_is_signed_with_an_empty_key(found: tuple[str, ...]) -> None:
    """Neither made nor read: an empty key is known to everybody."""
    cookies = signed_in(LoginCookies(lambda: ("old",), at(0)))
    login = LoginCookies(lambda: found, at(0))
    with pytest.raises(SettingsError):
        login.sign_in("Ada", Response(), secure=False)
    with pytest.raises(SettingsError):
        login.known(cookies, secure=False)


def test_over_https_the_plain_cookie_is_nobodys() -> None:
    """Another host of the domain can set it, and would sign a person in as somebody else."""
    login = LoginCookies(lambda: ("a secret",), at(0))
    plain, secure = signed_in(login), signed_in(login, secure=True)
    assert (set(plain), set(secure)) == ({COOKIE}, {SECURE_COOKIE})
    assert login.known(plain, secure=True) is None
    assert login.known(secure, secure=False) is None
    assert login.known(plain | secure, secure=True) is not None


async def test_a_copy_of_a_cookie_ends_with_the_sign_out(site: Site) -> None:
    """Who has copied the cookie is signed out with its owner, by the process that was told."""
    browser = await site.browser().sign_in()
    (cookie,) = browser.client.cookie_jar
    copied = {"Cookie": f"{cookie.key}={cookie.value}"}
    assert (await site.browser().ask("GET", "/rooms/demo", headers=copied))[0] == 200
    await browser.ask("POST", "/logout")
    assert (await site.browser().ask("GET", "/rooms/demo", headers=copied))[0] == 303


async def test_a_forged_cookie_is_told(site: Site) -> None:
    """One warning with the sender's address; a thousand of them are not a thousand lines."""
    forged = {"Cookie": "cordboard_login=eyJ1c2VyX2lkIjoidS0xIn0.x.y"}
    with emit.capture() as records:
        for _ in range(30):
            await site.browser().ask("GET", "/login", headers=forged)
    told = [r for r in records if r.get("event") == "auth.refused"]
    assert 1 <= len(told) <= 21
    assert (told[0]["level"], told[0]["meta"]["peer"]) == ("warn", "127.0.0.1")
