"""`cordboard sessions` with a gateway: found by name as well as by id, and by time."""

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
    """A gateway with four sessions: two of Ada, one of Eve, one of nobody."""
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
    return [json.loads(line)["sessionId"] for line in found.splitlines() if line]


async def test_a_user_is_found_by_name_and_by_id(url: str, tmp_path: Path) -> None:
    """`--user` takes what `--local` takes: an id or a name, spelt as they are."""
    assert await listed(url, tmp_path, "--user", "Ada") == ["s2", "s0"]
    assert await listed(url, tmp_path, "--user", "u-1") == ["s2", "s0"]
    assert await listed(url, tmp_path, "--user", "Ada", "--limit", "1") == ["s2"]
    assert await listed(url, tmp_path, "--user", "ada") == []
    assert await listed(url, tmp_path) == ["s3", "s2", "s1", "s0"]


async def test_sessions_of_a_window(url: str, tmp_path: Path) -> None:
    """A session is shown where it was there at some time of the window."""
    now = datetime.now(UTC)
    later, earlier = ((now + timedelta(hours=by)).isoformat() for by in (1, -1))
    everything = ["s3", "s2", "s1", "s0"]
    assert await listed(url, tmp_path, "--around", now.isoformat()) == everything
    assert await listed(url, tmp_path, "-t", "1h", "--user", "Eve") == ["s1"]
    assert await listed(url, tmp_path, "--around", later) == everything  # they are live
    assert await listed(url, tmp_path, "--around", earlier) == []
    assert await listed(url, tmp_path, "--until", earlier) == []


def test_all_pages_are_looked_through() -> None:
    """A name is found wherever it stands."""

    class Asked:
        """A gateway of two pages."""

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

    found = sessions._all(Asked(), {})  # type: ignore[arg-type]  # as much as is asked for
    assert [item["sessionId"] for item in found] == ["p0", "p1", "p2", "p3"]
