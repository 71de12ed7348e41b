"""The pages that list: rooms, sessions, health."""

from typing import Any

import pytest

from cordboard.interface import plain_words
from cordboard.interface.health_page import figures
from cordboard.interface.log_sources import SourceState
from cordboard.store import RedisStore, SessionFilter
from interface.interface_support import Browser, Site, an_id
from interface.pages_support import BOSS, EVIL, opened, staffed

__all__ = ["staffed"]


async def two_people(site: Site) -> tuple[Browser, Browser]:
    """Return the browsers of Ada, who is in a room, and of the operator."""
    ada, boss = await site.browser().sign_in("Ada"), await site.browser().sign_in(BOSS)
    await ada.join("hers", "webrtc:standup")
    return ada, boss


async def test_rooms_are_listed_with_state_user_and_session(staffed: Site) -> None:
    """An operator sees the rooms of all; a caller sees the own ones."""
    _, boss = await two_people(staffed)
    page = await opened(boss, "/rooms")
    assert {"/rooms/standup", f"/sessions/{an_id('hers')}"} <= set(page.links)
    assert "standup default Waiting for a bot Ada" in page.text
    eve = await staffed.browser().sign_in("Eve")
    page = await opened(eve, "/rooms")
    assert "standup" not in page.text
    assert "No room has a session" in page.text


@pytest.mark.parametrize(
    ("name", "expected"), [("a@b", "/rooms/a%40b"), (" demo ", "/rooms/demo"), ("a b", None)]
)
async def test_form_opens_a_room(staffed: Site, name: str, expected: str | None) -> None:
    """A valid name leads to its page; another is not found."""
    ada = await staffed.browser().sign_in("Ada")
    status, _, headers = await ada.ask("GET", "/rooms", params={"name": name})
    assert (status, headers.get("Location")) == ((303, expected) if expected else (404, None))


async def end(store: RedisStore, name: str, reason: str) -> None:
    record = await store.session(an_id(name))
    await store.finish(record.session_id, record.epoch, reason)


async def test_sessions_are_searched_by_each_condition(staffed: Site) -> None:
    """The id leads to the session; all other conditions restrict the list."""
    ada, boss = await two_people(staffed)
    await ada.join("failed", "webrtc:lab")
    await staffed.run("failed", build={"bot": "3f9a1c00d2e4"})
    await end(staffed.store, "failed", "bot_crashed")
    hers, failed = f"/sessions/{an_id('hers')}", f"/sessions/{an_id('failed')}"
    for query, expected in (
        ("", {hers, failed}),
        ("user=Ada", {hers, failed}),
        ("user=nobody", set()),
        ("room=lab", {failed}),
        ("room=webrtc:standup", {hers}),
        ("state=live", {hers}),
        ("state=failed", {failed}),
        ("reason=bot_crashed", {failed}),
        ("reason=left", set()),
        ("since=2020-01-01T10:00", {hers, failed}),
        ("until=2020-01-01T10:00", set()),
        ("state=live&room=lab", set()),
        ("build=3f9a", {failed}),
        ("build=9a1c", set()),
    ):
        page = await opened(boss, f"/sessions?{query}")
        assert {link for link in page.links if link.startswith("/sessions/")} == expected, query
    status, _, headers = await boss.ask("GET", f"/sessions?id={an_id('hers')}")
    assert (status, headers["Location"]) == (303, hers)


@pytest.mark.parametrize(
    "query", ["id=a%20b", "since=yesterday", "room=a%20b", "state=odd", "cursor=x"]
)
async def test_invalid_search_is_explained(staffed: Site, query: str) -> None:
    """The page with the form is shown again, with what is wrong."""
    boss = await staffed.browser().sign_in(BOSS)
    page = await opened(boss, f"/sessions?{query}", 422)
    assert "form" in page.tags
    assert "Newest sessions" in page.text or "Found sessions" in page.text


async def test_bad_ends_stand_out_and_say_why(staffed: Site) -> None:
    """A failed session has the class of bad ends, and a sentence, not only a colour."""
    ada, boss = await two_people(staffed)
    await ada.join("failed", "webrtc:lab")
    await staffed.run("failed")
    await end(staffed.store, "failed", "bot_crashed")
    _, text, _ = await boss.ask("GET", "/sessions?state=failed")
    assert '<tr class="bad">' in text
    assert "The bot raised an error, or its process died." in text


async def test_pages_of_a_list_continue_by_cursor(
    staffed: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each session is on exactly one page; the search goes along."""
    monkeypatch.setattr("cordboard.interface.sessions_page.PAGE_SIZE", 2)
    ada, boss = await two_people(staffed)
    for name in ("b", "c", "d", "e"):
        await ada.join(name, f"webrtc:{name}")
        await ada.ask("POST", f"/api/sessions/{an_id(name)}/leave")
    found: list[str] = []
    path = "/sessions?user=Ada"
    while path:
        page = await opened(boss, path)
        found += [link for link in page.links if link.startswith("/sessions/")]
        path = next((link for link in page.links if "cursor=" in link), "")
        assert not path or "user=Ada" in path
    assert len(found) == len(set(found)) == 5


async def test_caller_searches_only_own_sessions(staffed: Site) -> None:
    """Not even by the name of another."""
    await two_people(staffed)
    eve = await staffed.browser().sign_in("Eve")
    for query in ("", "?user=Ada", "?room=standup", "?state=live", f"?userId={BOSS}"):
        page = await opened(eve, f"/sessions{query}")
        assert not [link for link in page.links if link.startswith("/sessions/")], query
    assert (await eve.ask("GET", f"/sessions/{an_id('hers')}"))[0] == 404


async def test_texts_from_outside_are_escaped(staffed: Site) -> None:
    """Names and searches with markup add no element and no handler to a page."""
    plain = await opened(await staffed.browser().sign_in(BOSS), "/sessions")
    evil = await staffed.browser().sign_in(EVIL)
    await evil.join("evil", "webrtc:x")
    boss = await staffed.browser().sign_in(BOSS)
    for path in ("/rooms", "/sessions", f"/sessions/{an_id('evil')}", "/health"):
        page = await opened(boss, path)
        assert not {"onerror", "onload", "onclick", "style"} & set(page.attributes), path
        assert page.tags.count("script") <= 1, path
        assert page.tags.count("img") == 1, path
    _, text, _ = await boss.ask("GET", "/sessions", params={"user": EVIL})
    assert "<script>alert" not in text
    assert plain.tags.count("script") == 0


@pytest.mark.parametrize("staffed", ["/voice"], indirect=True)
async def test_each_link_has_the_path_prefix(staffed: Site) -> None:
    """No page leads out of the prefix of the proxy, and neither does a redirect."""
    boss = staffed.browser()
    boss.url += "/voice"
    headers = {"Origin": staffed.url}
    status, _, _ = await boss.ask("POST", "/login", data={"name": BOSS}, headers=headers)
    assert status == 303
    body = {"sessionId": an_id("prefixed"), "room": "webrtc:x"}
    await boss.ask("POST", "/api/sessions", json=body, headers=headers)
    session = f"/sessions/{an_id('prefixed')}"
    for path in ("/rooms", "/sessions", session, "/health"):
        page = await opened(boss, path)
        assert page.links
        assert [link for link in page.links if not link.startswith("/voice/")] == [], path
    for path in ("/rooms?name=y", f"/sessions?id={an_id('prefixed')}"):
        _, _, answered = await boss.ask("GET", path)
        assert answered["Location"].startswith("/voice/"), path
    _, _, answered = await boss.ask("POST", f"{session}/leave", headers=headers)
    assert answered["Location"] == f"/voice{session}"


async def test_health_is_for_operators(staffed: Site) -> None:
    """A caller sees neither the page nor a link to it."""
    ada, boss = await two_people(staffed)
    assert (await ada.ask("GET", "/health"))[0] == 403
    assert "/health" not in (await opened(ada, "/rooms")).links
    page = await opened(boss, "/health")
    for words in ("Queue", "1", "Nobody gives joins to runners", "No runner is free", "readable"):
        assert words in page.text


def overview(**over: Any) -> dict[str, Any]:
    runner = {"runner": "r", "capacity": 4, "free": 2, "seenMilliseconds": 1, "alive": True}
    operator = {
        "operator": "o",
        "pending": 0,
        "coldRunners": 0,
        "seenMilliseconds": 1,
        "alive": True,
    }
    return {
        "queued": 0,
        "oldestWaitSeconds": 0.0,
        "live": 0,
        "overdue": 0,
        "deadLetters": 0,
        "runners": [runner],
        "operators": [operator],
    } | over


@pytest.mark.parametrize(
    ("over", "recoveries", "readable", "bad"),
    [
        ({}, 0, True, {}),
        ({"queued": 1, "oldestWaitSeconds": 0.2}, 0, True, {}),
        ({"queued": 1, "oldestWaitSeconds": 9.0}, 0, True, {"Queue": "bad"}),
        ({"runners": []}, 0, True, {"Free slots": "bad"}),
        ({"operators": []}, 0, True, {"Operators": "bad"}),
        ({"overdue": 1}, 0, True, {"Overdue sessions": "warn"}),
        ({"deadLetters": 1}, 0, True, {"Dead letters": "warn"}),
        ({}, 3, True, {"Recoveries": "warn"}),
        ({}, 0, False, {"Log sources": "bad"}),
    ],
)
def test_each_figure_says_whether_it_is_good(
    over: dict[str, Any], recoveries: int, readable: bool, bad: dict[str, str]
) -> None:
    """A figure that needs attention has its tone, and a sentence that says what it means."""
    source = SourceState("logs", "readable" if readable else "unreadable", "")
    found = figures(overview(**over), recoveries, [source])
    assert {item.name: item.tone for item in found if item.tone != "ok"} == bad
    assert all(item.meaning.endswith(".") for item in found)


async def test_recoveries_are_listed_with_their_cause(staffed: Site) -> None:
    """The page names the session, the cause in words, and the runner that was lost."""
    ada, boss = await two_people(staffed)
    await ada.join("lost", "webrtc:lost")
    await staffed.run("lost")
    record = await staffed.store.session(an_id("lost"))
    await staffed.store.placement.recover(record.session_id, record.epoch, "confirmed")
    page = await opened(boss, "/health")
    assert "its runner was confirmed dead r1 went on" in page.text
    records, _ = await staffed.store.sessions(SessionFilter(live=True))
    assert len(records) == 2


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0 s"), (59.9, "59 s"), (61, "1 min 1 s"), (3600, "1 h"), (90_061, "1 d 1 h")],
)
def test_lengths_are_said_with_two_units(seconds: float, expected: str) -> None:
    """Longer ones need no seconds."""
    assert plain_words.length(seconds) == expected


def test_words_exist_for_each_state_and_reason() -> None:
    """No page shows a bare code."""
    from cordboard.contract.state import REASONS, TRANSITIONS

    assert plain_words.STATES.keys() == TRANSITIONS.keys()
    assert plain_words.REASONS.keys() == REASONS.keys()
