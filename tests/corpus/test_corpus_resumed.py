"""A bot that knows nothing of it goes on with the conversation that its predecessor has held."""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

import up_support
from cordboard.runner.context_cipher import ContextCipher
from cordboard.runner.kept_messages import RESUMED
from cordboard.store import RedisStore
from corpus import callers
from corpus.corpus_support import official_examples
from corpus.service_doubles import ANSWER, GREETING, Doubles
from corpus.test_corpus_official import callable_bots, outcome
from corpus.text_bot import ASK, BEGIN, GREET
from plane_support import HEADERS, SECRET, Part, Processes, ask, own_database, ready
from tests_support import served_with_websockets, until

BOT = Path(__file__).with_name("text_bot.py")
SETTINGS = '[bots.default]\nfile = "text_bot.py"\nkeep_context = true\n'
SID, ROOM = "call-7", "https://rooms.example/7"
SYSTEM = {"role": "system", "content": "You are a helpful assistant."}
CIPHER = ContextCipher(lambda: (SECRET,))
GREETED = [GREET, {"role": "assistant", "content": GREETING}]
ANSWERED = [*GREETED, ASK, {"role": "assistant", "content": ANSWER}]


class Plane:
    """The plane's processes, of which two are runners, and the double of the language model."""

    def __init__(self, processes: Processes, store: RedisStore, doubles: Doubles) -> None:
        self.processes, self.store, self.doubles = processes, store, doubles
        self.gateway = processes.spawn("gateway")
        self.operator = processes.spawn("operator", "--launcher", "none")
        # The runner with the most free slots gets the session.
        self.runners = [
            processes.spawn("runner", "--capacity", slots, "--grace", "0") for slots in ("9", "3")
        ]

    async def join(self) -> None:
        async with aiohttp.ClientSession(headers=HEADERS) as client:
            body = {"sessionId": SID, "room_url": ROOM}
            status, answer = await ask(client, "POST", f"{self.gateway.url}/join", body)
        assert status == 202, answer

    async def kept(self, messages: list[dict[str, Any]]) -> None:
        """Wait until these messages are kept."""

        async def are_kept() -> bool:
            text = await self.store.kept_context(SID)
            found = json.loads(CIPHER.decrypt(SID, text)) if text else {}
            return found.get("workers") == {"PipelineWorker#0": [messages]}

        await until(are_kept, 30)

    async def request(self, number: int) -> list[dict[str, Any]]:
        """Return the messages that the model has got with a request, from 0."""
        await until(lambda: len(self.doubles.conversations) > number, 40)
        return self.doubles.conversations[number]

    async def begun(self, runner: Part, times: int) -> None:
        """Wait until so many users of a runner have begun to speak, which ends no turn of the bot."""

        def have_begun() -> bool:
            lines = [record["message"] for record in list(runner.records)]
            return lines.count("The user has begun to speak") == times

        await until(have_begun, 30)


@pytest_asyncio.fixture
async def plane(tmp_path: Path, redis_url: str) -> AsyncIterator[Plane]:
    doubles = Doubles()
    shutil.copy(BOT, tmp_path)
    (tmp_path / "cordboard.toml").write_text(SETTINGS)
    url = own_database(redis_url)
    processes = Processes(tmp_path, url)
    async with served_with_websockets(doubles.app()) as services, RedisStore(url) as store:
        processes.over |= Doubles.environment(services) | {"PIPECAT_SETUP_FILES": ""}
        made = Plane(processes, store, doubles)
        await ready(made.gateway, made.operator, *made.runners)
        yield made
        processes.stop()


async def test_conversation_goes_on_after_each_death(plane: Plane) -> None:
    """After the kill of a runner, of a bot process, and a hand-over in a turn of the user; no end leaves anything."""
    first, second = plane.runners
    await plane.join()
    await plane.kept(ANSWERED)
    assert plane.doubles.conversations == [[SYSTEM, GREET], [SYSTEM, *GREETED, ASK]]
    first.signal(signal.SIGKILL)
    assert await plane.request(2) == [SYSTEM, *ANSWERED, RESUMED]
    await plane.kept([*ANSWERED, RESUMED, ANSWERED[-1]])
    await plane.begun(second, 1)
    os.kill((await plane.store.session(SID)).pid or 0, signal.SIGKILL)
    assert await plane.request(3) == [SYSTEM, *ANSWERED, ANSWERED[-1], RESUMED]
    await plane.begun(second, 2)
    second.signal(signal.SIGTERM)
    await plane.kept([*ANSWERED, ANSWERED[-1], RESUMED, ANSWERED[-1], BEGIN])
    async with aiohttp.ClientSession(headers=HEADERS) as client:
        await ask(client, "POST", f"{plane.gateway.url}/leave", {"sessionId": SID})
    assert await plane.store.kept_context(SID) is None
    lines = [str(record) for part in plane.processes.parts for record in list(part.records)]
    assert not [line for line in lines if ANSWER in line or "Germany" in line]


async def test_official_examples_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On demand, as in test_corpus_official.py: each bot is killed after a call's first question."""
    examples = official_examples()
    results: dict[str, str] = {}
    for number, file in enumerate(callable_bots(examples)):
        state = tmp_path / str(number)
        state.mkdir()
        (state / "cordboard.toml").write_text(
            f'[bots.default]\nfile = "{file.resolve()}"\nkeep_context = true\n'
        )
        doubles = Doubles()
        async with (
            served_with_websockets(doubles.app()) as services,
            up_support.ready(
                state,
                *("--config", str(state / "cordboard.toml"), "--runners", "2"),
                blind=False,
                python=examples.python,
                **Doubles.environment(services),
            ) as up,
        ):
            results[file.name] = await outcome(_resume(up, doubles))
            with capsys.disabled():
                sys.stdout.write(f"\n{file.name}: {results[file.name]} {doubles.faults or ''}")
    assert [name for name, result in results.items() if result.startswith("failed")] == []


async def _resume(up: up_support.Up, doubles: Doubles) -> str:
    """Hold a call by WebRTC, kill the bot process, connect again; return what the model got then."""
    edge = up.addresses["edge"]
    session_id = (await callers.start(edge, {"transport": "webrtc"}))["sessionId"]
    offer_url = f"{edge}/sessions/{session_id}/api/offer"
    async with callers.connected(offer_url) as (ear, mouth):
        await callers.converse(ear, mouth)
        await asyncio.sleep(1)  # the turn ends a moment after its sound
    before = len(doubles.conversations)
    said = doubles.conversations[-1]
    pids = [one["meta"]["pid"] for one in up.records if one.get("event") == "bot.started"]
    os.kill(pids[-1], signal.SIGKILL)
    await until(lambda: up.events(session_id).count("bot.started") == 2, 30)
    async with callers.connected(offer_url) as (ear, _):
        await ear.utterance(1)
    first = doubles.conversations[before]
    assert first[: len(said)] == said, f"the model got {first}"
    assert GREETING not in [one.get("content") for one in first[len(said) :]]
    return f"goes on with {len(first)} messages; the last is {first[-1]['content'][:60]!r}"
