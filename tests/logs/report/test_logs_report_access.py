"""The page for people who see little, use the keyboard, or have it read to them."""

import re
from importlib.resources import files
from pathlib import Path

import pytest

from logs.report.page_support import Page
from report_support import KINDS, report_of_kind

TEXT_LEAST = 4.5  # WCAG 2.2, 1.4.3, for text of this size
TEXTS = (
    "browser", "interface", "gateway", "operator", "runner", "bot", "other", "text", "dim", "link",
    "warn", "bad",
)  # fmt: skip
GROUNDS = ("card", "bg", "sunk", "warn-bg", "bad-bg")

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


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_can_be_read_and_walked_through(kind: str, tmp_path: Path) -> None:
    """No image hides what can be chosen, every column has a name, all text is in a landmark."""
    page = Page(report_of_kind(tmp_path, kind).read_text())
    for (tag, attrs), above in page.found:
        chosen = tag in {"a", "button", "input", "select"} and attrs.get("tabindex") != "-1"
        assert not (chosen and any(a.get("role") == "img" for _, a in above)), attrs
        assert not (chosen and any(name == "svg" for name, _ in above)), attrs
        if "scroll" in attrs.get("class", "").split():
            assert (attrs["tabindex"], attrs["role"]) == ("0", "region")
            assert attrs["aria-label"]
    texts = [(text.strip(), set(dict(above))) for text, above in page.texts if text.strip()]
    columns = sum(tag == "th" for (tag, _), _ in page.found)
    assert columns == sum("th" in above for _, above in texts)
    landmarks = {"header", "main", "footer", "nav", "head", "script"}
    assert [text for text, above in texts if not landmarks & above] == []


def test_links_are_told_by_more_than_their_colour() -> None:
    """Links of the page's body are underlined."""
    assert re.search(r"main a \{[^}]*text-decoration: underline", CSS)
    assert CSS.index("main a {") > CSS.index("text-decoration: none")
