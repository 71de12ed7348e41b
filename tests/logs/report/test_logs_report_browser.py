"""The page in a real Chromium: no script of a log runs, nothing is fetched, lines are found."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect, sync_playwright

from browser.browser_support import chromium_path
from cordboard.logs.coverage import Coverage
from cordboard.logs.report.entry import visible
from report_support import (
    COMPLETE,
    HEADER,
    HOSTILE,
    KINDS,
    MISSING,
    Told,
    crashed_call,
    good_call,
    report_of_kind,
    write_report,
)

IS_SHOWN = (
    "text => [...document.querySelectorAll('.row')].some((row) => row.textContent.includes(text))"
)
TARGET_LEAST_PX = 24  # WCAG 2.2, 2.5.8

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium of this machine."""
    path = chromium_path()  # before the driver, which without one may lack libraries, too
    with sync_playwright() as started:
        launched = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield launched
        launched.close()


class Opened:
    """A report that is open, with what the browser complained of."""

    def __init__(self, browser: Any, path: Path, fragment: str = "", **options: Any) -> None:
        self.complaints: list[str] = []
        self.fetched: list[str] = []
        self.page = browser.new_context(**options).new_page()
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.on("request", lambda request: self.fetched.append(request.url))
        self.url = path.as_uri() + fragment
        self.page.goto(self.url)

    @property
    def rows(self) -> list[str]:
        texts: list[str] = self.page.locator(".row").all_text_contents()
        return texts


def report(tmp_path: Path, told: Told, coverage: Coverage = COMPLETE) -> Path:
    path = tmp_path / "call.html"
    write_report(path, told.lines(), coverage, HEADER)
    return path


@pytest.fixture(scope="module")
def long_call(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A report of twenty thousand lines, and how many there are."""
    told = good_call()
    for number in range(20_000):
        told.say(500 + number, "bot", f"Heard word {number}", level="debug", tag="stt", n=number)
    return report(tmp_path_factory.mktemp("long"), told), len(told.records)


def test_hostile_lines_stay_lines(browser: Any, tmp_path: Path) -> None:
    """No text of a log runs, closes an element or fetches; each is shown, with what it hid."""
    told = crashed_call()
    for number, text in enumerate(HOSTILE):
        error = {"type": text, "message": text, "stack": text}
        told.say(100 + number, text, text, level="error", tag=text, error=error, **{text: text})
    opened = Opened(browser, report(tmp_path, told))
    page = opened.page
    assert page.title() == "call-7 · Cordboard report"
    assert opened.complaints == []
    assert opened.fetched == [opened.url]
    assert page.locator("img, iframe, object, embed, link, script:not([id]) ~ script").count() == 0
    shown = page.locator("#trouble").text_content()
    for text in HOSTILE:
        flat = " ".join(visible(text).split())
        assert flat in shown
        page.fill("#search", "" if "\ud800" in text else text.split("\r")[0])
        page.wait_for_function(IS_SHOWN, arg=flat)
    page.fill("#search", "")  # all rows again, before they are counted
    page.wait_for_function(
        "least => document.querySelectorAll('.row').length > least", arg=len(HOSTILE)
    )
    for at in range(page.locator(".row").count()):
        page.locator(".row").nth(at).click()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.title() == "call-7 · Cordboard report"
    assert opened.complaints == []


def test_the_policy_holds(browser: Any, tmp_path: Path) -> None:
    """Even markup that found its way into the page could not run or fetch: the policy forbids it."""
    opened = Opened(browser, report(tmp_path, good_call()))
    opened.page.evaluate(
        """() => { const at = document.createElement('div');
        at.innerHTML = '<img src="http://127.0.0.1:9/x.png" onerror="document.title=1">';
        document.body.append(at);
        const script = document.createElement('script'); script.textContent = 'document.title = 2';
        document.body.append(script); }"""
    )
    opened.page.wait_for_timeout(100)
    assert opened.page.title() == "call-7 · Cordboard report"
    assert any("Content Security Policy" in text for text in opened.complaints)


def test_lines_are_searched_and_filtered(browser: Any, long_call: tuple[Path, int]) -> None:
    """Twenty thousand lines: only a windowful is drawn, and each filter finds what it should."""
    path, total = long_call
    opened = Opened(browser, path)
    page = opened.page
    counted = page.locator("#counted")
    assert counted.text_content() == f"{total:,} lines"
    assert 10 < len(opened.rows) < 200
    page.fill("#search", "WORD 19999 stt")
    expect(page.locator(".row")).to_have_count(1)
    assert "Heard word 19999" in opened.rows[0]
    assert page.locator(".row mark").first.text_content() == "word"
    page.fill("#search", "")
    page.select_option("#least", "warn")
    expect(page.locator(".row")).to_have_count(2)
    assert "No video transceiver is available" in opened.rows[0]
    page.select_option("#least", "debug")
    page.check("#events-only")
    assert counted.text_content() == f"26 of {total:,} lines"
    page.click("#chips button:has-text('bot')")
    assert all("turn." not in row for row in opened.rows)
    assert opened.complaints == []


def test_the_end_of_a_long_list_is_reached(browser: Any, long_call: tuple[Path, int]) -> None:
    """Scrolling to the end shows the last line, and the list never holds more than a windowful."""
    opened = Opened(browser, long_call[0])
    opened.page.evaluate("document.getElementById('list').scrollTop = 1e9")
    expect(opened.page.locator(".row", has_text="session.ended")).to_have_count(1)
    assert len(opened.rows) < 200


def test_a_link_opens_its_line(browser: Any, tmp_path: Path) -> None:
    """A link from an error, a stage or a mark shows the whole line, filters or not."""
    told = crashed_call()
    opened = Opened(browser, report(tmp_path, told))
    page = opened.page
    page.fill("#search", "nothing holds this")
    expect(page.locator(".row")).to_have_count(0)
    page.click("#trouble li.error a")
    page.wait_for_selector("#detail:not([hidden])")
    text = page.locator("#detail-text").text_content()
    assert '"event": "bot.crashed"' in text
    assert "ValueError: no order 4711" in text
    assert page.locator(".row.chosen").count() == 1
    linked = Opened(browser, report(tmp_path, told), "#L3")
    assert '"event": "join.requested"' in linked.page.locator("#detail-text").text_content()


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_is_wider_than_the_window(browser: Any, tmp_path: Path, width: int) -> None:
    """On a phone as on a desk the page scrolls one way only, whatever its texts."""
    told = crashed_call()
    told.say(50, "a-service-with-a-very-long-name-" * 3, "x" * 3000, level="error", y="z" * 3000)
    told.session_id = "s" * 128
    viewport = {"width": width, "height": 800}
    opened = Opened(browser, report(tmp_path, told), viewport=viewport)
    wide = opened.page.evaluate("document.documentElement.scrollWidth")
    assert wide <= width


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_shows_what_is_missing(browser: Any, tmp_path: Path, width: int) -> None:
    """Why something is missing, and each event's whole name, are seen without moving sideways."""
    path = report(tmp_path, crashed_call(), MISSING)
    opened = Opened(browser, path, viewport={"width": width, "height": 800})
    edges = opened.page.evaluate(
        """() => [...document.querySelectorAll('#coverage td li, #events b, #events .what')]
        .map((item) => Math.max(item.getBoundingClientRect().right, item.getBoundingClientRect().left + item.scrollWidth))"""
    )
    assert len(edges) > 10
    assert max(edges) <= width
    assert opened.page.locator("#coverage td[data-unit]").first.is_visible()


def test_without_scripts_and_on_paper(browser: Any, tmp_path: Path) -> None:
    """Verdict, stages, errors and events need no script; paper gets the lines as well."""
    path = report(tmp_path, crashed_call())
    bare = Opened(browser, path, java_script_enabled=False)
    body = bare.page.locator("body").inner_text()
    for words in (
        "The bot crashed 2.1 s after",
        "Bot connected",
        "bot.first_audio",
        "no order 4711",
    ):
        assert words in body
    assert "requires JavaScript" in body
    opened = Opened(browser, path)
    assert len(opened.page.pdf()) > 10_000
    opened.page.emulate_media(media="print")
    opened.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert opened.page.locator("#paper div").count() == len(crashed_call().records)
    assert opened.page.locator("#search").is_hidden()


def test_light_and_dark(browser: Any, tmp_path: Path) -> None:
    """The form follows the system, and the button changes it."""
    path = report(tmp_path, good_call())
    color = "getComputedStyle(document.body).backgroundColor"
    seen = {}
    for scheme in ("light", "dark"):
        opened = Opened(browser, path, color_scheme=scheme)
        seen[scheme] = opened.page.evaluate(color)
        opened.page.click("#theme")
        seen[f"not {scheme}"] = opened.page.evaluate(color)
    assert seen["light"] != seen["dark"]
    assert (seen["light"], seen["dark"]) == (seen["not dark"], seen["not light"])


@pytest.mark.parametrize("kind", KINDS)
def test_links_are_large_enough_to_be_hit(browser: Any, tmp_path: Path, kind: str) -> None:
    """Each link that the keyboard reaches is 24 pixels high and wide, on a desk and on a phone."""
    path = report_of_kind(tmp_path, kind)
    for width in (1200, 400):
        opened = Opened(browser, path, viewport={"width": width, "height": 900})
        small = opened.page.evaluate(
            """(least) => [...document.querySelectorAll('a[href]:not([tabindex="-1"])')]
                 .map((a) => [a.textContent, a.getBoundingClientRect()])
                 .filter(([, box]) => box.height > 0 && (box.height < least || box.width < least))
                 .map(([text, box]) => `${text} ${box.width} x ${box.height}`)""",
            TARGET_LEAST_PX,
        )
        assert small == [], width
