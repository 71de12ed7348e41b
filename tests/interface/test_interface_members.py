"""The members of a session's record that each role sees: the same on every page, in each event and each answer."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from cordboard.interface import access
from interface.interface_support import Browser, Site, an_id
from interface.pages_support import BOSS, opened, page_events, staffed
from tests_support import until

__all__ = ["staffed"]

DETAIL = "ValueError: the key is sk-live-0123456789"
BUILD = {"bot": "3f9a1c00d2e4", "cordboard": "9.8.7", "image": "sha256:77aa77aa"}
LOGIN_DOCS = Path(__file__).parents[2] / "docs" / "login.md"


async def crashed(site: Site) -> tuple[Browser, Browser, dict[str, Any]]:
    """Return the browsers of a caller and an operator, and the whole record of the caller's failed session."""
    ada, boss = await site.browser().sign_in("Ada"), await site.browser().sign_in(BOSS)
    await ada.join("s")
    await site.run("s", build=BUILD)
    await site.store.finish(an_id("s"), 1, "bot_crashed", DETAIL)
    return ada, boss, await site.app.state.services.gateway.record(an_id("s"))


async def shown(browser: Browser) -> dict[str, str]:
    """Return what each page, stream and answer about the session says to a person."""
    path = f"/sessions/{an_id('s')}"
    facts = [data for name, data in await page_events(browser, f"/api{path}/live")]
    return {
        "page": (await browser.ask("GET", path))[1],
        "stream": str([data for data in facts if "html" in data]),
        "list": (await browser.ask("GET", "/sessions"))[1],
        "events": (await browser.ask("GET", f"/api{path}/events"))[1],
        "API": str((await browser.ask("GET", f"/api{path}"))[1]),
    }


async def test_caller_sees_no_member_for_operators(staffed: Site) -> None:
    """Neither the text of the bot's exception nor what tells how the service is built."""
    ada, _, record = await crashed(staffed)
    assert {"detail", "build", "runner", "pid", "type"} <= set(record) - {*access.CALLER_MEMBERS}
    for where, text in (await shown(ada)).items():
        assert "bot_crashed" in text or "raised an error" in text, where
        for secret in (DETAIL, "sk-live", "Build: ", *BUILD.values()):
            assert secret not in text, (where, secret)
    _, told, _ = await ada.ask("GET", f"/api/sessions/{an_id('s')}")
    assert told == {name: record[name] for name in access.CALLER_MEMBERS}


async def test_operator_sees_all_members(staffed: Site) -> None:
    """The page and its stream show the members that explain an end; the API has the whole record."""
    _, boss, record = await crashed(staffed)
    texts = await shown(boss)
    for where in ("page", "stream", "API"):
        for text in (DETAIL, *BUILD.values()):
            assert text in texts[where], (where, text)
    assert (await boss.ask("GET", f"/api/sessions/{an_id('s')}"))[1] == record


async def test_stream_of_a_live_session_shows_a_caller_no_more_than_its_page(staffed: Site) -> None:
    """The record is read anew at each change of the state."""
    ada = await staffed.browser().sign_in("Ada")
    await ada.join("s")
    await staffed.run("s", build=BUILD)
    following = asyncio.create_task(page_events(ada, f"/api/sessions/{an_id('s')}/live"))
    await until(lambda: len(staffed.app.state.request_limits.streams) > 0)
    await staffed.store.finish(an_id("s"), 1, "bot_crashed", DETAIL)
    told = await asyncio.wait_for(following, 60)
    states = [data["state"] for name, data in told if name == "facts"]
    assert (states[0], states[-1]) == ("running", "failed")
    assert DETAIL not in str(told)
    assert BUILD["bot"] not in str(told)


async def test_search_does_not_tell_a_caller_the_build(staffed: Site) -> None:
    """A search by the beginning of a hash would find it out digit by digit."""
    ada, boss, _ = await crashed(staffed)
    own = f"/sessions/{an_id('s')}"
    for query in ("build=3f9a", "build=0000"):
        assert own in (await opened(ada, f"/sessions?{query}")).links, query
    assert own not in (await opened(boss, "/sessions?build=0000")).links
    assert 'name="build"' not in (await ada.ask("GET", "/sessions"))[1]


@pytest.mark.parametrize("name", ["Ada", BOSS])
async def test_session_that_was_taken_over_is_marked_for_each_role(
    staffed: Site, name: str
) -> None:
    """The list of take-overs names runners; that there was one is a stage."""
    browser = await staffed.browser().sign_in(name)
    await browser.join("s")
    await staffed.run("s")
    await staffed.store.placement.recover(an_id("s"), 1, "confirmed")
    await staffed.store.finish(an_id("s"), 2, "left")
    _, text, _ = await browser.ask("GET", "/sessions")
    assert '<tr class="warn">' in text
    assert ("Taken over 1 time." in text) == (name == BOSS)


def test_documented_members_of_a_caller_are_those_of_the_code() -> None:
    """docs/login.md lists them."""
    line = next(
        line for line in LOGIN_DOCS.read_text().splitlines() if "members of a record" in line
    )
    assert tuple(re.findall(r"`(\w+)`", line.split("|")[2])) == access.CALLER_MEMBERS
