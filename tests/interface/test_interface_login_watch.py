"""Event streams end with the login of the person who has opened them."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cordboard.interface import login_watch
from cordboard.interface.login import BY_NAME, RENEWED_AFTER_S, LoginCookies
from cordboard.interface.page_events import SIGNED_OUT_WORDS
from cordboard.interface.people import Roles
from interface.interface_support import Browser, Site, an_id
from interface.pages_support import BOSS, page_events, staffed
from tests_support import until

__all__ = ["staffed"]

Following = asyncio.Task[list[tuple[str, dict[str, Any]]]]
LAST = [("problem", {"text": SIGNED_OUT_WORDS}), ("end", {})]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at logins often."""
    monkeypatch.setattr(login_watch, "CHECK_S", 0.05)


async def followed(site: Site, browser: Browser, what: str = "live") -> Following:
    """Join as a caller; follow the session in a browser, and wait until the stream is open."""
    await (await site.browser().sign_in("Ada")).join("s")
    following = asyncio.create_task(page_events(browser, f"/api/sessions/{an_id('s')}/{what}"))
    streams = site.app.state.request_limits.streams
    await until(lambda: len(streams) > 0)
    return following


def later(site: Site, seconds: float) -> None:
    """Let time pass for logins."""
    cookies: LoginCookies = site.app.state.login
    wall: Callable[[], float] = cookies._wall
    cookies._wall = lambda: wall() + seconds


async def test_sign_out_ends_the_live_page(staffed: Site, tmp_path: Path) -> None:
    """The page says so, and nothing reads the log for it any more."""
    (tmp_path / "gateway.jsonl").touch()
    boss = await staffed.browser().sign_in(BOSS)
    following = await followed(staffed, boss)
    readings = staffed.app.state.services.log_readings
    await until(lambda: len(readings) == 1)
    await boss.ask("POST", "/logout")
    assert (await asyncio.wait_for(following, 60))[-2:] == LAST
    await until(lambda: len(readings) == 0)
    assert len(staffed.app.state.request_limits.streams) == 0


async def test_another_persons_sign_out_ends_no_page(staffed: Site) -> None:
    """Nor that of another login of the same name."""
    boss = await staffed.browser().sign_in(BOSS)
    following = await followed(staffed, boss)
    for name in ("Eve", BOSS):
        other = await staffed.browser().sign_in(name)
        await other.ask("POST", "/logout")
    await asyncio.sleep(0.3)
    assert not following.done()
    following.cancel()


async def test_end_of_a_login_ends_the_live_page(staffed: Site) -> None:
    """When nobody has opened a page for too long."""
    boss = await staffed.browser().sign_in(BOSS)
    following = await followed(staffed, boss)
    later(staffed, BY_NAME.idle_s + 1)
    assert (await asyncio.wait_for(following, 60))[-2:] == LAST


async def test_login_that_is_used_elsewhere_keeps_the_live_page(staffed: Site) -> None:
    """The page's own request has the cookie of its start; that of the browser is renewed since."""
    boss = await staffed.browser().sign_in(BOSS)
    following = await followed(staffed, boss)
    later(staffed, RENEWED_AFTER_S + 1)
    assert (await boss.ask("GET", "/rooms/demo"))[0] == 200
    later(staffed, BY_NAME.idle_s - 10)
    await asyncio.sleep(0.3)
    assert not following.done()
    later(staffed, 60)
    assert (await asyncio.wait_for(following, 60))[-2:] == LAST


async def test_login_that_another_replica_renewed_keeps_the_live_page(staffed: Site) -> None:
    """This one sees the new cookie, and may not renew it again."""
    boss = await staffed.browser().sign_in(BOSS)
    following = await followed(staffed, boss)
    later(staffed, RENEWED_AFTER_S + 1)
    assert (await boss.ask("GET", "/rooms/demo"))[0] == 200
    staffed.app.state.login._renewed.clear()  # as if the other replica had renewed it
    assert (await boss.ask("GET", "/rooms/demo"))[0] == 200
    later(staffed, BY_NAME.idle_s - 10)
    await asyncio.sleep(0.3)
    assert not following.done()
    following.cancel()


async def test_lost_role_ends_the_live_page(staffed: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are for operators, also those to come."""
    boss = await staffed.browser().sign_in(BOSS)
    following = await followed(staffed, boss)
    monkeypatch.setattr(Roles, "role_of", lambda *_: "caller")
    assert (await asyncio.wait_for(following, 60))[-2:] == LAST


async def test_events_of_a_call_end_with_a_sign_out_only(staffed: Site) -> None:
    """A call was admitted at its start: it goes on when the login grows too old."""
    boss = await staffed.browser().sign_in(BOSS)
    following = await followed(staffed, boss, "events")
    later(staffed, BY_NAME.age_s + 1)
    await asyncio.sleep(0.3)
    assert not following.done()
    later(staffed, -BY_NAME.age_s - 1)
    await boss.ask("POST", "/logout")
    assert (await asyncio.wait_for(following, 60))[-2:] == LAST


async def test_events_of_a_call_do_not_ask_the_proxy_again(staffed: Site) -> None:
    """The proxy's login may have ended, and the page would end a call whose media go on."""
    staffed.app.state.identity.stream_s = 0.0
    boss = await staffed.browser().sign_in(BOSS)
    following = await followed(staffed, boss, "events")
    await asyncio.sleep(0.3)
    assert not following.done()
    following.cancel()


async def test_proxy_that_authenticates_people_is_asked_again(staffed: Site) -> None:
    """The stream ends without a word, and the browser opens it again through the proxy."""
    staffed.app.state.identity.stream_s = 0.0
    boss = await staffed.browser().sign_in(BOSS)
    await boss.join("s")
    told = await asyncio.wait_for(page_events(boss, f"/api/sessions/{an_id('s')}/live"), 60)
    assert not {"problem", "end"} & {name for name, _ in told}
