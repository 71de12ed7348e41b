"""The pages, and the pages for errors."""

import re

import pytest

from cordboard.interface import rendering
from interface.interface_support import Site

HTML = {"Accept": "text/html,*/*"}


def named_files() -> set[str]:
    """Return the paths of all files that templates and modules name."""
    templates = rendering.STATIC.parent / "templates"
    texts = [
        file.read_text(encoding="utf-8")
        for folder in (rendering.STATIC, templates)
        for file in folder.iterdir()
        if file.is_file()
    ]
    return set(re.findall(r"/static/[\w.-]+", "\n".join(texts)))


async def test_home_page_redirects_to_the_default_room(site: Site) -> None:
    """Its name is demo."""
    status, _, headers = await (await site.browser().sign_in()).ask("GET", "/")
    assert (status, headers["Location"]) == (303, "/rooms/demo")


async def test_names_are_escaped(site: Site) -> None:
    """Markup in a name is shown as text."""
    browser = await site.browser().sign_in('"><img src=x onerror=alert(1)>')
    _, text, _ = await browser.ask("GET", "/rooms/demo")
    assert "<img src=x" not in text
    assert text.count("&lt;img src=x onerror=alert(1)&gt;") == 3


async def test_room_page_has_the_canonical_room(site: Site) -> None:
    """It is not stored by browsers."""
    browser = await site.browser().sign_in()
    status, text, headers = await browser.ask("GET", "/rooms/team-7")
    assert status == 200
    assert 'data-room="webrtc:team-7"' in text
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/rooms/a%20b", "/rooms/%3Cb%3E", "/nowhere"])
async def test_missing_page_is_a_page_for_people_and_json_for_programs(
    site: Site, path: str
) -> None:
    """The page has a link to the home page."""
    browser = await site.browser().sign_in()
    status, text, _ = await browser.ask("GET", path, headers=HTML)
    assert status == 404
    assert '<a class="button" href="/">' in text
    status, body, _ = await browser.ask("GET", path)
    assert (status, body["status"]) == (404, 404)


async def test_login_does_not_redirect_to_another_site(site: Site) -> None:
    """A target that is not the path of a page is not found, whether one is signed in or not."""
    ada = await site.browser().sign_in()
    for target in (
        "//evil.example",
        "https://evil.example",
        "\\evil.example",
        "/\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "javascript:alert(1)",
        "",
        "/" + "a" * 600,
    ):
        status, _, headers = await site.browser().ask(
            "POST", "/login", data={"name": "Ada", "next": target}
        )
        assert (status, "Location" in headers) == ((404, False) if target else (303, True)), target
        status, _, headers = await ada.ask("GET", "/login", params={"next": target})
        assert (status, "Location" in headers) == (404, False), target


async def test_every_file_named_in_a_page_is_served(site: Site) -> None:
    """Scripts have a type that browsers accept."""
    browser = site.browser()
    named = named_files()
    assert "/static/room.js" in named
    for path in named:
        status, _, headers = await browser.ask("GET", path)
        assert status == 200, path
        if path.endswith(".js"):
            assert "javascript" in headers["Content-Type"]
