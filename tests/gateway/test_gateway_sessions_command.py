"""``cordboard sessions`` with a gateway: by user and by time."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cordboard.cli import sessions
from cordboard.environment import CONTROL_SECRET
from cordboard.gateway.app import create_app
from cordboard.settings import Settings
from cordboard.store import RedisStore
from tests_support import served

SECRET = "a secret of sixteen"


@pytest.fixture
async def url(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """A gateway with four sessions: two of Ada, one of Eve, one without a user."""
    monkeypatch.setenv(CONTROL_SECRET, SECRET)
    headers = {"Authorization": f"Bearer {SECRET}"}
    people = [("u-1", "Ada"), ("u-2", "Eve"), ("u-1", "Ada"), (None, None)]
    async with (
        served(create_app(Settings(queue_max=9), store)) as url,
        aiohttp.ClientSession(url, headers=headers) as client,
    ):
        for number, (user, name) in enumerate(people):
            body = {"sessionId": f"s{number}", "room_url": f"webrtc:{number}"}
            who = {"sessionUserId": user, "sessionUserName": name} if user and name else {}
            async with client.post("/join", json=body | who) as answer:
                assert answer.status == 202
            await asyncio.sleep(0.002)
        yield str(url)


async def listed(url: str, folder: Path, *words: str) -> list[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cordboard", "sessions", "--gateway", url, "-o", "json", *words,
        stdout=asyncio.subprocess.PIPE, cwd=folder, env={**os.environ, "HOME": str(folder)},
    )  # fmt: skip
    found, _ = await process.communicate()
    assert process.returncode == 0
    return [json.loads(line)["sessionId"] for line in found.splitlines()]


async def test_user_option_takes_a_name_or_an_id(url: str, tmp_path: Path) -> None:
    """As with ``--local``; upper and lower case differ."""
    assert await listed(url, tmp_path, "--user", "Ada") == ["s2", "s0"]
    assert await listed(url, tmp_path, "--user", "u-1") == ["s2", "s0"]
    assert await listed(url, tmp_path, "--user", "Ada", "--limit", "1") == ["s2"]
    assert await listed(url, tmp_path, "--user", "ada") == []
    assert await listed(url, tmp_path) == ["s3", "s2", "s1", "s0"]


async def test_window_has_the_sessions_that_were_live_in_it(url: str, tmp_path: Path) -> None:
    """A session belongs to a window if it was live at some time in it."""
    now = datetime.now(UTC)
    later, earlier = ((now + timedelta(hours=by)).isoformat() for by in (1, -1))
    everything = ["s3", "s2", "s1", "s0"]
    assert await listed(url, tmp_path, "--around", now.isoformat()) == everything
    assert await listed(url, tmp_path, "-t", "1h", "--user", "Eve") == ["s1"]
    assert await listed(url, tmp_path, "--around", later) == everything  # they are live
    assert await listed(url, tmp_path, "--around", earlier) == []
    assert await listed(url, tmp_path, "--until", earlier) == []


def test_all_pages_are_searched() -> None:
    """A session on the last page is found."""

    class Pages:
        """A gateway with four pages."""

        def get(self, path: str, query: dict[str, Any]) -> dict[str, Any]:
            assert path == "/sessions"
            number = int(query["cursor"] or 0)
            items = [{"sessionId": f"p{number}", "userName": f"N{number}"}]
            return {
                "sessions": [
                    {**item, "status": "running", "createdAt": "2026-11-23T10:00:00Z", "stages": {}}
                    for item in items
                ],
                "nextCursor": str(number + 1) if number < 3 else None,
            }

    found = sessions.all_sessions(Pages(), {})  # type: ignore[arg-type]  # only `get` is called
    assert [item["sessionId"] for item in found] == ["p0", "p1", "p2", "p3"]


TAKEN = {
    "epoch": 3,
    "attempt": 2,
    "cause": "confirmed",
    "runner": "r1",
    "at": "2026-11-23T10:00:20Z",
}


@pytest.mark.parametrize(
    ("status", "item", "words"),
    [
        (
            "running",
            {**TAKEN, "sign": "the runner's port is closed", "takenBy": "r2", "silenceMs": 1234},
            "the runner r1 died; the runner's port is closed; attempt 2; taken by r2; no bot ran for 1.23 s",
        ),
        ("starting", TAKEN, "the runner r1 died; attempt 2; not taken yet"),
        ("ended", TAKEN, "the runner r1 died; attempt 2"),
        (
            "ended",
            {**TAKEN, "cause": "draining", "attempt": 1, "takenBy": "r2", "silenceMs": 90},
            (
                "the runner r1 was stopped, and handed the session over; the runner announced it;"
                " attempt 1; taken by r2; no bot ran for 0.09 s"
            ),
        ),
        (
            "queued",
            {**TAKEN, "cause": "died", "sign": "the runner does not answer"},
            "the runner r1 died; the lease ran out; the runner does not answer; attempt 2; not taken yet",
        ),
    ],
)
def test_take_over_tells_what_died_and_who_continued(
    status: str, item: dict[str, Any], words: str
) -> None:
    """A session shows each of its take-overs with how it was known, and for how long no bot ran."""
    session = {
        "sessionId": "s", "status": status, "createdAt": "2026-11-23T10:00:00Z",
        "stages": {"running": "2026-11-23T10:00:21Z"}, "takeOvers": [item],
    }  # fmt: skip
    (row,) = [line for line in sessions._details(session).splitlines() if "epoch 3" in line]
    assert row.endswith(words)


@pytest.mark.parametrize(("more", "shown"), [({}, "0:13"), ({"takeOvers": [{"epoch": 2}]}, "0:30")])
def test_duration_is_that_of_the_call_and_not_of_its_last_bot(
    more: dict[str, Any], shown: str
) -> None:
    """The stages are those of the last bot."""
    minute = "2026-11-23T10:00"
    stages = {"running": f"{minute}:17Z", "ended": f"{minute}:30Z"}
    session = {
        "sessionId": "s", "status": "ended", "room_url": "webrtc:demo", "createdAt": f"{minute}:00Z",
        "stages": stages, **more,
    }  # fmt: skip
    assert sessions._table([session]).split()[-1] == shown
