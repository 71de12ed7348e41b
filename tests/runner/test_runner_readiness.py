"""`readyz()` in a bot file decides whether its runner takes sessions of the bot."""

import json
import sys
from collections.abc import AsyncIterator, Iterator
from multiprocessing import Pipe
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import pytest

from cordboard.runner.readiness import REASON_CHARS, Readiness, readiness_of, send_readiness
from cordboard.store import RedisStore
from plane_support import Processes, own_database, ready
from runner.runner_support import Runner, client, processes, write_bot
from tests_support import until

BOT = """
import asyncio, json, os, time
from pathlib import Path

FILE = Path(__file__).with_name("answer.json")
{at_import}

{kind} readyz():
    answer = json.loads(FILE.read_text())
    if answer == "raise":
        raise ValueError("no model")
    if answer == "hang":
        time.sleep(600)
    if answer == "exit":
        os._exit(1)
    return answer

async def bot(args):
    await asyncio.sleep(600)
"""
# What a runner asks often, so that a test does not wait.
QUICK = ("-c", """
import sys
from cordboard.cli import main
from cordboard.runner.readiness_watch import ReadinessWatch
ReadinessWatch.__init__.__defaults__ = (0.1, 1.0)
sys.exit(main())
""")  # fmt: skip


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Processes]:
    """A runner with three bots: one with readyz(), one whose file each process imports, one without."""
    for made in processes(tmp_path_factory.mktemp("runner"), redis_url):
        parts = {
            "own": {"kind": "async def", "at_import": ""},
            "late": {"kind": "def", "at_import": "LOOP = asyncio.new_event_loop()"},
        }
        words = []
        for name, values in parts.items():
            folder = made.directory / name
            folder.mkdir()
            answer(folder, {"ready": True})
            words += ["--bot", f"{name}={write_bot(folder, BOT.format(**values))}"]
        plain = write_bot(made.directory, "async def bot(args): ...\n")
        made.spawn("runner", *words, "--bot", f"plain={plain}", before=QUICK)
        yield made


@pytest.fixture
async def runner(plane: Processes) -> AsyncIterator[Runner]:
    (part,) = plane.parts
    await ready(part)
    async with RedisStore(plane.redis_url) as store, client() as http:
        yield Runner(part, store, http)


def answer(folder: Path, value: Any) -> None:
    """Let readyz() of the bot in a folder return a value."""
    (folder / "new").write_text(json.dumps(value))
    (folder / "new").rename(folder / "answer.json")


async def registered_bots(runner: Runner) -> set[str]:
    """The bots for which the store gives sessions to the runner."""
    redis, keys = runner.store.connection.client, runner.store.keys
    (name,) = await redis.zrange(keys.runners, 0, -1)
    values = await redis.hgetall(keys.runner(name))
    return {field.removeprefix("bot:") for field in values if field.startswith("bot:")}


async def started(runner: Runner, bot: str) -> tuple[int, dict[str, Any]]:
    """Start a session of a bot, and stop it again."""
    body = {"room_url": f"https://rooms.example/{bot}", "bot": bot}
    status, given = await runner.ask_start(body)
    if status == 200:
        await runner.client.post(f"{runner.part.url}/sessions/{given['sessionId']}/leave")
    return status, given


def reasons(runner: Runner, bot: str) -> list[str]:
    """Why a bot was not ready, by the runner's log."""
    lines = [line for line in runner.part.records if line["message"] == "The bot is not ready"]
    return [line["meta"]["reason"] for line in lines if line["meta"]["bot"] == bot]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (False, "readyz() returned False"),
        ({"ready": False, "error": "no GPU"}, '{"error": "no GPU"}'),
        ("raise", "readyz() raised ValueError: no model"),
        ("hang", "readyz() took over 1 s"),
        ("exit", "readyz() ended its process"),
    ],
)
async def test_bot_that_is_not_ready_gets_no_session(
    runner: Runner, plane: Processes, value: Any, reason: str
) -> None:
    """The other bots of the runner do; afterwards it gets sessions again."""
    folder = plane.directory / "own"
    answer(folder, value)
    await until(lambda: reason in reasons(runner, "own"))
    await until(lambda: _is_registered(runner, {"late", "plain"}))
    status, problem = await started(runner, "own")
    assert status == 503
    assert reason in problem["detail"]
    assert (await started(runner, "plain"))[0] == 200
    await ready(runner.part)
    answer(folder, True)
    await until(lambda: _is_registered(runner, {"own", "late", "plain"}))
    assert (await started(runner, "own"))[0] == 200


async def _is_registered(runner: Runner, bots: set[str]) -> bool:
    return await registered_bots(runner) == bots


async def test_bot_that_each_process_imports_is_asked_as_well(
    runner: Runner, plane: Processes
) -> None:
    """In a process that imports the file."""
    answer(plane.directory / "late", {"ready": False})
    await until(lambda: reasons(runner, "late"), 30)
    assert (await started(runner, "late"))[0] == 503
    answer(plane.directory / "late", {"ready": True})
    await until(lambda: _is_registered(runner, {"own", "late", "plain"}), 30)


async def test_runner_without_a_ready_bot_is_not_ready(redis_url: str, tmp_path: Path) -> None:
    """From its start on, and for each probe."""
    answer(tmp_path, {"ready": False, "reason": "warming up"})
    file = write_bot(tmp_path, BOT.format(kind="def", at_import=""))
    made = Processes(tmp_path, own_database(redis_url))
    part = made.spawn("runner", "--bot", file, before=QUICK)
    try:
        async with client() as http:
            detail = await until(lambda: _detail(http, part.url), 30)
            assert detail == 'Not ready by readyz() of default: {"reason": "warming up"}.'
            answer(tmp_path, {"ready": True})
            await ready(part)
    finally:
        made.stop()


async def test_runner_with_sessions_stays_ready(redis_url: str, tmp_path: Path) -> None:
    """With all slots taken, and while its bot refuses sessions: Kubernetes deletes unready pods first."""
    answer(tmp_path, {"ready": True})
    file = write_bot(tmp_path, BOT.format(kind="def", at_import=""))
    made = Processes(tmp_path, own_database(redis_url))
    part = made.spawn("runner", "--bot", file, "--capacity", "1", before=QUICK)
    try:
        await ready(part)
        async with RedisStore(made.redis_url) as store, client() as http:
            runner = Runner(part, store, http)
            status, given = await runner.ask_start({"room_url": "https://rooms.example/busy"})
            assert status == 200
            answer(tmp_path, {"ready": False})
            await until(lambda: reasons(runner, "default"))
            assert await _readiness(http, part.url) == 200
            await http.post(f"{part.url}/sessions/{given['sessionId']}/leave")
            assert await _readiness(http, part.url) == 503
    finally:
        made.stop()


async def _readiness(http: aiohttp.ClientSession, url: str) -> int:
    async with http.get(f"{url}/readyz") as response:
        return response.status


async def _detail(http: aiohttp.ClientSession, url: str) -> str | None:
    """Why a runner is not ready, once it has asked its bot."""
    try:
        async with http.get(f"{url}/readyz") as response:
            text = str((await response.json()).get("detail"))
    except OSError:  # it does not listen yet
        return None
    return text if "warming up" in text else None


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (True, Readiness(is_ready=True)),
        ({"ready": 1, "queue": 3}, Readiness(is_ready=True)),
        ({}, Readiness(is_ready=False, reason="readyz() returned False")),
        (None, Readiness(False, "readyz() returned NoneType, expected a bool or a dictionary")),
    ],
)
def test_results_mean_what_they_mean_on_pipecat_cloud(result: Any, expected: Readiness) -> None:
    """A bool, or a dictionary whose `ready` decides."""
    assert readiness_of(result) == expected


def test_reason_is_short_and_has_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes from the bot, and goes into answers and lines."""
    module = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    reader, writer = Pipe(duplex=False)

    def readyz() -> None:
        raise ValueError("api_key=sk-abcdefghijklmnopqrstuvwx " + "x" * 1000)

    vars(module)["readyz"] = readyz
    send_readiness(writer, lambda: None)
    found: Readiness = reader.recv()
    assert not found.is_ready
    assert len(found.reason) == REASON_CHARS
    assert "sk-abcdefghijklmnopqrstuvwx" not in found.reason
