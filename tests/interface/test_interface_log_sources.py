"""Log sources on the pages: whether each answers, and the command that reads them."""

import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cordboard.environment import CONTROL_SECRET, SESSION_SECRET
from cordboard.gateway.app import create_app as create_gateway
from cordboard.interface.health_page import figures
from cordboard.interface.log_readings import LogReadings
from cordboard.interface.log_sources import LogEnvironment, SourceState
from cordboard.interface.source_checks import FRESH_S, SourceChecks
from cordboard.settings import Settings, load
from cordboard.store import RedisStore
from interface.interface_support import SECRET, Site, an_id, open_site
from interface.pages_support import BOSS, opened
from logs.loki_double import LokiDouble
from tests_support import served, until

SOURCE = """
[[environments.prod]]
type = "loki"
url = "{url}"
selector = '{{namespace="voice"}}'
"""


@pytest.fixture
def loki() -> Iterator[LokiDouble]:
    server = LokiDouble()
    yield server
    server.shutdown()
    server.server_close()


def settings_of(folder: Path, url: str, *more: str) -> Settings:
    """Return the settings of an interface that reads a Loki, from a file as its reader does."""
    file = folder / "cordboard.toml"
    names = f'interface_logs = "prod"\ninterface_operators = ["{BOSS}"]\n'
    file.write_text(names + "\n".join(more) + SOURCE.format(url=url))
    return load(str(file))


@asynccontextmanager
async def checks_of(settings: Settings) -> AsyncIterator[SourceChecks]:
    """Give checks of the environment `prod`, and end them."""
    checks = SourceChecks(LogReadings(LogEnvironment("prod", settings), 1))
    try:
        yield checks
    finally:
        await checks.close()


async def answered(checks: SourceChecks) -> SourceState:
    """Return the state of the only source when it has answered."""

    async def state() -> SourceState | None:
        (found,) = await checks.states()
        return found if found.state != "not checked" else None

    found: SourceState = await until(state, 60)
    return found


async def test_source_that_answers_is_readable(loki: LokiDouble, tmp_path: Path) -> None:
    """It is asked once a minute, whoever looks how often."""
    async with checks_of(settings_of(tmp_path, loki.url)) as checks:
        state = await answered(checks)
        assert (state.state, state.tone) == ("readable", "ok")
        assert "answers; no lines in the last 60 s" in state.words
        asked = len(loki.asked)
        assert asked > 0
        for _ in range(3):
            assert await checks.states() == [state]
        assert len(loki.asked) == asked
        checks._clock = lambda: time.monotonic() + FRESH_S
        await checks.states()
        await until(lambda: len(loki.asked) > asked, 60)


async def test_source_that_does_not_answer_is_unreadable(tmp_path: Path) -> None:
    """The page says why."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        async with checks_of(settings_of(tmp_path, url)) as checks:
            state = await answered(checks)
    assert (state.state, state.tone) == ("unreadable", "bad")
    assert "respond" in state.words


async def test_source_that_has_not_answered_yet_is_not_called_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does its check hold up the page; one that has begun ends with the server."""
    monkeypatch.setattr("cordboard.interface.source_checks.PATIENCE_S", 0.0)
    async with checks_of(settings_of(tmp_path, "http://127.0.0.1:9")) as checks:
        (state,) = await checks.states()
    assert (state.state, state.tone) == ("not checked", "warn")
    overview = {"queued": 0, "oldestWaitSeconds": 0.0, "overdue": 0, "deadLetters": 0}
    (shown,) = [
        item
        for item in figures(overview | {"runners": [], "operators": []}, 0, [state])
        if item.name == "Log sources"
    ]
    assert (shown.value, shown.tone) == ("0 of 1", "warn")


async def test_check_that_takes_too_long_leaves_the_source_unchecked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process is ended, and the page says so."""
    monkeypatch.setattr("cordboard.interface.log_readings.CHECK_S", 0.0)
    async with checks_of(settings_of(tmp_path, "http://127.0.0.1:9")) as checks:

        async def is_given_up() -> bool:
            (found,) = await checks.states()
            return found.state == "not checked" and "did not end in time" in found.words

        await until(is_given_up, 60)


@pytest.fixture
async def remote(
    loki: LokiDouble, store: RedisStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Site]:
    """An interface that reads a Loki."""
    monkeypatch.setenv(CONTROL_SECRET, SECRET)
    monkeypatch.setenv(SESSION_SECRET, "signs-the-cookies")
    async with served(create_gateway(Settings(), store)) as gateway:
        settings = settings_of(tmp_path, loki.url, f'gateway_url = "{gateway}"')
        async with open_site(store, settings) as here:
            yield here


async def test_pages_of_a_remote_environment_name_it(remote: Site) -> None:
    """The page of a room and that of a session print the same command."""
    boss = await remote.browser().sign_in(BOSS)
    await boss.join("s")
    _, text, _ = await boss.ask("GET", f"/sessions/{an_id('s')}")
    assert f"cordboard logs --env prod --session {an_id('s')}" in text
    _, text, _ = await boss.ask("GET", "/rooms/demo")
    assert 'data-logs="--env prod"' in text
    assert "--local" not in text

    async def is_shown() -> bool:
        return "readable answers; no lines" in (await opened(boss, "/health")).text

    await until(is_shown, 60)


async def test_room_without_log_environment_names_no_command(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows which one would find the lines."""
    monkeypatch.setenv(SESSION_SECRET, "signs-the-cookies")
    async with open_site(None, Settings()) as site:
        browser = await site.browser().sign_in()
        _, text, _ = await browser.ask("GET", "/rooms/demo")
    assert '<div class="copy-row" hidden>\n<span id="command-label"' in text
