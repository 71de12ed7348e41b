"""The page of a session: its state, its stream, and what operators read of its log."""

import asyncio
import io
import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cordboard import emit
from cordboard.contract.errors import SettingsError
from cordboard.interface import log_reader
from cordboard.interface.app import create_app
from cordboard.interface.log_readings import LogReadings
from cordboard.interface.log_sources import LogEnvironment
from cordboard.logs.reader import Reader
from cordboard.logs.report.model import Header
from cordboard.settings import Settings
from cordboard.web.rate_limits import TooManyRequestsError
from interface.interface_support import Browser, Site, an_id
from interface.pages_support import BOSS, EVIL, opened, page_events, staffed
from tests_support import until

__all__ = ["staffed"]

KEY = "a-secret-that-no-page-shows"


def write_lines(
    folder: Path, session_id: str, *messages: str, first: int = 1, at: str = "2026-11-23T10:11:12"
) -> None:
    """Append lines of a gateway to its log file."""
    with (folder / "gateway.jsonl").open("a", encoding="utf-8") as file:
        for number, message in enumerate(messages, first):
            line: dict[str, Any] = {
                "timestamp": f"{at}.{number:06d}Z",
                "level": "error" if "error" in message else "info",
                "message": message,
                "service": "gateway",
                "tag": "gateway",
                "sessionId": session_id,
                "userId": "u",
                "userName": "Ada",
                "event": "join.accepted",
                "boot": "9f31c2aa",
                "seq": number,
            }
            file.write(json.dumps(line) + "\n")


async def ended(site: Site) -> tuple[Browser, Browser, str]:
    """Return the browsers of the caller and the operator, and the page of a session that has ended."""
    ada, boss = await site.browser().sign_in("Ada"), await site.browser().sign_in(BOSS)
    await ada.join("s")
    await ada.ask("POST", f"/api/sessions/{an_id('s')}/leave")
    return ada, boss, f"/sessions/{an_id('s')}"


async def test_page_shows_the_stages_in_words(staffed: Site) -> None:
    """The facts need no script, and no log."""
    ada, _, path = await ended(staffed)
    page = await opened(ada, path)
    assert "Cancelled It was ended before a bot ran." in page.text
    assert "Accepted +0.000 s" in page.text
    assert "/static/report.css" not in page.links


async def test_only_operators_get_lines(staffed: Site, tmp_path: Path) -> None:
    """The caller follows the state; lines, reports and bundles are for operators."""
    ada, boss, path = await ended(staffed)
    write_lines(tmp_path, an_id("s"), "one", "two")
    hers = await page_events(ada, f"/api{path}/live")
    assert [name for name, _ in hers] == ["facts", "end"]
    for form in ("report.html", "report.txt", "bundle.zip"):
        assert (await ada.ask("GET", f"{path}/{form}"))[0] == 403
    eve = await staffed.browser().sign_in("Eve")
    for more in ("", "/report.html", "/report.txt", "/bundle.zip"):
        assert (await eve.ask("GET", f"{path}{more}"))[0] == 404
    assert (await eve.ask("GET", f"/api{path}/live"))[0] == 404
    theirs = await page_events(boss, f"/api{path}/live")
    assert {"facts", "lines", "section", "read", "end"} == {name for name, _ in theirs}


async def test_operator_who_reads_writes_no_line_into_the_session(
    staffed: Site, tmp_path: Path
) -> None:
    """The log of a call has what happened in the call, and not who has looked at it since."""
    _, boss, path = await ended(staffed)
    write_lines(tmp_path, an_id("s"), "one")
    with emit.capture() as records:
        await opened(boss, path)
        await page_events(boss, f"/api{path}/live")
        for read in (
            f"{path}/report.html",
            f"{path}/report.txt",
            f"{path}/bundle.zip",
            f"/api{path}",
        ):
            async with boss.client.get(f"{boss.url}{read}") as answer:
                assert answer.status == 200
        await until(lambda: any(path in str(record["meta"].get("path")) for record in records))
    assert [record for record in records if record["sessionId"] == an_id("s")] == []


async def test_stream_of_an_ended_session_has_lines_sections_and_coverage(
    staffed: Site, tmp_path: Path
) -> None:
    """Texts of the log are escaped in the sections, and secrets are removed from the lines."""
    _, boss, path = await ended(staffed)
    write_lines(tmp_path, an_id("s"), "one", f"error {EVIL}", f"api_key={KEY}", "\x1b[31mred")
    events = await page_events(boss, f"/api{path}/live")
    rows = [row for name, data in events if name == "lines" for row in data["rows"]]
    assert [row[:4] for row in rows[:2]] == [
        [1, "10:11:12.000", "info", "gateway"],
        [2, "10:11:12.000", "error", "gateway"],
    ]
    sections = {data["id"]: data["html"] for name, data in events if name == "section"}
    assert {"verdict", "coverage", "trouble", "events"} <= set(sections)
    everything = json.dumps(events)
    assert "<script>alert" not in "".join(sections.values())
    assert KEY not in everything
    assert "\\u001b" not in everything
    assert dict(events)["read"] == {"lines": 4}


async def test_reports_and_bundle_are_saved_not_shown(staffed: Site, tmp_path: Path) -> None:
    """Their own scripts never run as a page of this site."""
    _, boss, path = await ended(staffed)
    write_lines(tmp_path, an_id("s"), "one", f"api_key={KEY}")
    for form, kind in (("report.html", "text/html"), ("report.txt", "text/plain")):
        status, text, headers = await boss.ask("GET", f"{path}/{form}")
        assert (status, headers.getone("Content-Type").split(";")[0]) == (200, kind)
        assert headers["Content-Disposition"].startswith("attachment;")
        assert an_id("s") in text
        assert KEY not in text
    async with boss.client.get(f"{boss.url}{path}/bundle.zip") as answer:
        bundle = zipfile.ZipFile(io.BytesIO(await answer.read()))
    assert any(name.endswith("report.html") for name in bundle.namelist())
    assert (await boss.ask("GET", f"{path}/report.exe"))[0] == 404


def sections_so_far(events: list[tuple[str, dict[str, Any]]]) -> set[str]:
    """Return the sections that say that lines to come may change them."""
    return {data["id"] for name, data in events if name == "section" and "So far" in data["html"]}


async def test_live_session_is_followed_until_its_end(staffed: Site, tmp_path: Path) -> None:
    """New lines come as they are written; after the end, the whole log is read once more."""
    ada, boss = await staffed.browser().sign_in("Ada"), await staffed.browser().sign_in(BOSS)
    await ada.join("s")
    (tmp_path / "gateway.jsonl").touch()
    path = f"/api/sessions/{an_id('s')}"
    so_far: list[tuple[str, dict[str, Any]]] = []
    following = asyncio.create_task(page_events(boss, f"{path}/live", so_far))
    readings: LogReadings = staffed.app.state.services.log_readings
    await until(lambda: len(readings) == 1)
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    write_lines(tmp_path, an_id("s"), "while it lives", at=at)
    await until(lambda: sections_so_far(so_far) == {"coverage", "cause"}, 60)
    await ada.ask("POST", f"{path}/leave")
    events = await asyncio.wait_for(following, 60)
    names = [name for name, _ in events]
    assert names[0] == "facts"
    assert names[-1] == "end"
    assert "restart" in names
    states = [data["state"] for name, data in events if name == "facts"]
    assert (states[0], states[-1]) == ("queued", "cancelled")
    after = events[names.index("restart") :]
    assert [row[5] for name, data in after if name == "lines" for row in data["rows"]] == [
        "while it lives"
    ]
    assert not sections_so_far(after)
    assert len(readings) == 0


def test_lines_that_arrive_become_events(tmp_path: Path) -> None:
    """A followed session sends rows and sections; what lines to come may change says so."""
    header = Header(session_id="call-7")
    output = log_reader.SessionOutput(header, lines_max=2)
    write_lines(tmp_path, "call-7", "one", "two", "three error")
    with_lines = Settings(interface_logs="local", log_dir=str(tmp_path))
    from cordboard.logs.query import Query

    reader = Reader(Query(session="call-7"), LogEnvironment("local", with_lines).open())
    for line in reader.lines():
        output.add(line)
    told = b"".join(output.due(reader.coverage)).decode()
    assert told.count("event: lines") == 1
    assert '"id": "events"' in told
    sections = {
        data["id"]: data["html"]
        for event in told.split("\n\n")
        if event.startswith("event: section")
        for data in [json.loads(event.partition("data: ")[2])]
    }
    assert {"events", "coverage", "cause"} <= set(sections)
    assert "verdict" not in sections
    assert [name for name, html in sections.items() if "So far" in html] == ["cause", "coverage"]
    assert "gateway" in sections["coverage"]
    assert "three error" in told
    assert not list(output.due(reader.coverage)), "nothing has changed"
    rows = json.loads(told.split("data: ")[1].split("\n")[0])["rows"]
    assert len(rows) == 2
    reader.close()


async def test_number_of_readings_is_limited(staffed: Site, tmp_path: Path) -> None:
    """A further page says so; its state is shown nevertheless."""
    _, boss, path = await ended(staffed)
    readings = LogReadings(LogEnvironment("local", Settings(log_dir=str(tmp_path))), 1)
    async with readings.lines(an_id("s")):
        assert len(readings) == 1
        with pytest.raises(TooManyRequestsError):
            await readings.report(an_id("s"), "report.txt")
    assert len(readings) == 0
    staffed.app.state.services.log_readings._limit = 0
    events = await page_events(boss, f"/api{path}/live")
    assert [name for name, _ in events] == ["facts", "problem", "end"]
    assert (await boss.ask("GET", f"{path}/report.txt"))[0] == 429


async def test_missing_folder_is_explained(staffed: Site, tmp_path: Path) -> None:
    """The page says why there are no lines."""
    _, boss, path = await ended(staffed)
    tmp_path.rmdir()  # noqa: ASYNC240 - a test
    events = await page_events(boss, f"/api{path}/live")
    assert "does not exist" in dict(events)["problem"]["text"]
    assert (await boss.ask("GET", f"{path}/report.txt"))[0] == 503


async def test_reader_ends_with_its_page(staffed: Site, tmp_path: Path) -> None:
    """A person who leaves the page of a live session leaves no process behind."""
    ada, boss = await staffed.browser().sign_in("Ada"), await staffed.browser().sign_in(BOSS)
    await ada.join("s")
    (tmp_path / "gateway.jsonl").touch()
    readings: LogReadings = staffed.app.state.services.log_readings
    following = asyncio.create_task(page_events(boss, f"/api/sessions/{an_id('s')}/live"))
    await until(lambda: len(readings) == 1)
    following.cancel()
    await until(lambda: len(readings) == 0)


async def test_operator_ends_the_session_by_a_form(staffed: Site) -> None:
    """The form works without scripts, and only from a page of this site."""
    ada, boss = await staffed.browser().sign_in("Ada"), await staffed.browser().sign_in(BOSS)
    await ada.join("s")
    path = f"/sessions/{an_id('s')}"
    assert f"{path}/leave" in (await opened(boss, path)).links
    eve = await staffed.browser().sign_in("Eve")
    assert (await eve.ask("POST", f"{path}/leave"))[0] == 404
    foreign = {"Origin": "https://evil.example"}
    assert (await boss.ask("POST", f"{path}/leave", headers=foreign))[0] == 403
    assert (await staffed.store.session(an_id("s"))).live
    status, _, headers = await boss.ask("POST", f"{path}/leave")
    assert (status, headers["Location"]) == (303, path)
    assert not (await staffed.store.session(an_id("s"))).live
    assert f"{path}/leave" not in (await opened(boss, path)).links


def test_unknown_log_environment_is_refused() -> None:
    """A typing error does not silently leave the pages without lines."""
    with pytest.raises(SettingsError, match="interface_logs"):
        create_app(Settings(interface_logs="prdo"))
