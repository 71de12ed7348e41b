"""An interface with an operator, with a folder of log files, and pages that are read as a browser reads them."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from cordboard.environment import CONTROL_SECRET, LOG_DIR, SESSION_SECRET
from cordboard.gateway.app import create_app as create_gateway
from cordboard.settings import Settings
from cordboard.store import RedisStore
from interface.interface_support import SECRET, Browser, Site, open_site
from tests_support import served

BOSS = "Boss"
HTML = {"Accept": "text/html"}
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


@pytest.fixture
async def staffed(
    request: pytest.FixtureRequest,
    store: RedisStore,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> AsyncIterator[Site]:
    """An interface whose operator is called `BOSS`, and which reads log files of a folder.

    A parameter is its path prefix.
    """
    monkeypatch.setenv(CONTROL_SECRET, SECRET)
    monkeypatch.setenv(SESSION_SECRET, "signs-the-cookies")
    monkeypatch.setenv(LOG_DIR, str(tmp_path))
    async with served(create_gateway(Settings(), store)) as gateway:
        settings = Settings(
            root_path=getattr(request, "param", ""),
            gateway_url=gateway,
            interface_operators=(BOSS,),
            interface_logs="local",
            log_dir=str(tmp_path),
        )
        async with open_site(store, settings) as here:
            yield here


@dataclass
class Parsed(HTMLParser):
    """The tags, links and text of a page."""

    tags: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    attributes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.append(name)
            if name in {"href", "src", "action"} and value:
                self.links.append(value)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        """All text, with single spaces."""
        return " ".join(" ".join(self.texts).split())


async def opened(browser: Browser, path: str, status: int = 200) -> Parsed:
    """Open a page; return it."""
    found, text, headers = await browser.ask("GET", path, headers=HTML)
    assert found == status, text
    assert headers["Content-Type"].startswith("text/html")
    page = Parsed()
    page.feed(text)
    return page


async def page_events(
    browser: Browser, path: str, found: list[tuple[str, dict[str, Any]]] | None = None
) -> list[tuple[str, dict[str, Any]]]:
    """Return the server-sent events of a stream until its `end`; `found` has them as they come."""
    found = [] if found is None else found
    async with browser.client.get(f"{browser.url}{path}") as answer:
        assert answer.status == 200
        rest = b""
        async for chunk in answer.content.iter_any():
            *blocks, rest = (rest + chunk).split(b"\n\n")
            for block in blocks:
                if block.startswith(b"event: "):
                    name, _, data = block.partition(b"\n")
                    event = json.loads(data.removeprefix(b"data: "))
                    found.append((name.removeprefix(b"event: ").decode(), event))
            if found and found[-1][0] == "end":
                return found
    return found
