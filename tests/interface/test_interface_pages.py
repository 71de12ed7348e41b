"""The pages: what is in them, and what stands in for them when something goes wrong."""

import re

import pytest

from cordboard.interface import pages
from interface.interface_support import Site

HTML = {"Accept": "text/html,*/*"}


def named_files() -> set[str]:
    """Return every path of a file that a template or a module names."""
    templates = pages.STATIC.parent / "templates"
    texts = [
        file.read_text(encoding="utf-8")
        for folder in (pages.STATIC, templates)
        for file in folder.iterdir()
    ]
    return set(re.findall(r"/static/[\w.-]+", "\n".join(texts)))


async def test_home_is_the_demo_room(site: Site) -> None:
    """The first page leads to the default room."""
    status, _, headers = await (await site.browser().sign_in()).ask("GET", "/")
    assert (status, headers["Location"]) == (303, "/rooms/demo")


async def test_a_name_is_text_wherever_it_stands(site: Site) -> None:
    """A name with markup in it is shown, never obeyed."""
    browser = await site.browser().sign_in('"><img src=x onerror=alert(1)>')
    _, text, _ = await browser.ask("GET", "/rooms/demo")
    assert "<img src=x" not in text
    assert text.count("&lt;img src=x onerror=alert(1)&gt;") == 3


async def test_a_room_page_names_its_room(site: Site) -> None:
    """The page carries the room in its canonical form, and never a session id of the server's."""
    browser = await site.browser().sign_in()
    status, text, headers = await browser.ask("GET", "/rooms/team-7")
    assert status == 200
    assert 'data-room="webrtc:team-7"' in text
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "path", ["/rooms/a%20b", "/rooms/%3Cb%3E", "/login?room=a%2Fb", "/nowhere"]
)
async def test_what_is_not_there_is_said_in_a_page(site: Site, path: str) -> None:
    """People get a page with a way on, programs problem+json."""
    browser = await site.browser().sign_in()
    status, text, _ = await browser.ask("GET", path, headers=HTML)
    assert status == 404
    assert '<a class="button" href="/">' in text
    status, body, _ = await browser.ask("GET", path)
    assert (status, body["status"]) == (404, 404)


async def test_login_leads_nowhere_else(site: Site) -> None:
    """A login cannot be made to lead to another site."""
    for room in ("//evil.example", "https://evil.example", "\\evil.example"):
        status, _, headers = await site.browser().ask(
            "POST", "/login", data={"name": "Ada", "room": room}
        )
        assert (status, "Location" in headers) == (404, False)


async def test_every_file_that_is_named_is_there(site: Site) -> None:
    """Templates and modules name only files that are served, with a type that browsers take."""
    browser = site.browser()
    named = named_files()
    assert "/static/room.js" in named
    for path in named:
        status, _, headers = await browser.ask("GET", path)
        assert status == 200, path
        if path.endswith(".js"):
            assert "javascript" in headers["Content-Type"]
