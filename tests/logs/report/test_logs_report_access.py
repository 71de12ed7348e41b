"""The page for people who see little, use the keyboard, or have it read to them."""

import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from cordboard.logs.report import Header
from report_support import HEADER, MISSING, crashed_call, good_call, recovered_call, write_report

TEXT_LEAST = 4.5  # WCAG 2.2, 1.4.3, for text of this size
TARGET_LEAST_PX = 24  # WCAG 2.2, 2.5.8
TEXTS = (
    "browser", "interface", "gateway", "operator", "runner", "bot", "other", "text", "dim", "link",
    "warn", "bad",
)  # fmt: skip
GROUNDS = ("card", "bg", "sunk", "warn-bg", "bad-bg")
VOID = {"meta", "input", "link", "br"}

CSS = (files("cordboard.logs.report") / "page.css").read_text()


def luminance(colour: str) -> float:
    """As WCAG defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_every_text_stands_out(scheme: int) -> None:
    """Each colour of a text, on each ground that it may stand on, in the light form and in the dark one."""
    pairs = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", CSS)
    colours = {name: both[scheme] for name, *both in pairs}
    low = {
        (text, ground): round(contrast(colours[text], colours[ground]), 2)
        for text in TEXTS
        for ground in GROUNDS
        if contrast(colours[text], colours[ground]) < TEXT_LEAST
    }
    assert low == {}


class Page(HTMLParser):
    """What a page holds, with the path of elements to each."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.path: list[tuple[str, dict[str, str | None]]] = []
        self.found: list[tuple[str, dict[str, str | None], list[tuple[str, dict[str, Any]]]]] = []
        self.texts: list[tuple[str, list[str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), list(self.path)))
        if tag not in VOID:
            self.path.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        while self.path and self.path.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((data.strip(), [tag for tag, _ in self.path]))


@pytest.fixture(params=["good", "crashed", "recovered", "several"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A report of each kind."""
    told = {"good": good_call, "crashed": crashed_call, "recovered": recovered_call}
    lines = told.get(request.param, good_call)().lines()
    header = HEADER
    if request.param == "several":
        other = crashed_call()
        other.records = [{**record, "sessionId": "call-8"} for record in other.records]
        lines, header = [*lines, *other.lines()], Header(made_at="now")
    target = tmp_path / "call.html"
    write_report(target, lines, MISSING, header)
    return target


def test_a_page_can_be_read_and_walked_through(path: Path) -> None:
    """No image hides what can be chosen, every column has a name, all text is in a landmark."""
    page = Page(path.read_text())
    for tag, attrs, above in page.found:
        chosen = tag in {"a", "button", "input", "select"} and attrs.get("tabindex") != "-1"
        assert not (chosen and any(a.get("role") == "img" for _, a in above)), attrs
        assert not (chosen and any(name == "svg" for name, _ in above)), attrs
        if "scroll" in (attrs.get("class") or "").split():
            assert (attrs["tabindex"], attrs["role"]) == ("0", "region")
            assert attrs["aria-label"]
    columns = sum(tag == "th" for tag, _, _ in page.found)
    assert columns == sum("th" in above for _, above in page.texts)
    landmarks = {"header", "main", "footer", "nav", "head", "script"}
    assert [text for text, above in page.texts if not landmarks & set(above)] == []


def test_links_are_told_by_more_than_their_colour() -> None:
    """Links of the page's body are underlined."""
    assert re.search(r"main a \{[^}]*text-decoration: underline", CSS)
    assert CSS.index("main a {") > CSS.index("text-decoration: none")


@pytest.mark.browser
@pytest.mark.timeout(120)
@pytest.mark.parametrize("width", [1200, 400])
def test_links_are_large_enough_to_be_hit(path: Path, width: int) -> None:
    """Each link that the keyboard reaches is 24 pixels high and wide, on a desk and on a phone."""
    from playwright.sync_api import sync_playwright

    from browser.browser_support import chromium_path

    chromium = chromium_path()
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.goto(path.as_uri())
        small = page.evaluate(
            """(least) => [...document.querySelectorAll('a[href]:not([tabindex="-1"])')]
                 .map((a) => [a.textContent, a.getBoundingClientRect()])
                 .filter(([, box]) => box.height > 0 && (box.height < least || box.width < least))
                 .map(([text, box]) => `${text} ${box.width} x ${box.height}`)""",
            TARGET_LEAST_PX,
        )
        browser.close()
    assert small == []
