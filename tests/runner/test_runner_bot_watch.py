"""`--reload`: changed bot files are loaded beside the earlier version, with which live calls go on."""

import asyncio
import functools
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from cordboard.contract.launch import Launch
from cordboard.processes import children_of
from cordboard.runner.bot_imports import find_own_files
from cordboard.store import RedisStore
from plane_support import Processes, is_running, ready
from runner.runner_support import Runner, client, processes
from tests_support import until

pytestmark = pytest.mark.timeout(120)

BOT = """
import asyncio, os
import prompts

async def bot(args):
    print("version", {version}, prompts.NAME, os.environ.get("KEY"), flush=True)
    await asyncio.sleep(600)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the bot: `bot.py` is a link through `current`, as in a ConfigMap."""
    folder = tmp_path_factory.mktemp("bot")
    release(folder, 1)
    (folder / "current").symlink_to("release-1")
    (folder / "bot.py").symlink_to("current/bot.py")
    (folder / "prompts.py").write_text("NAME = 'first'\n")
    (folder / ".env").write_text("KEY=a\n")
    return folder


@pytest.fixture(scope="module")
def plane(
    tmp_path_factory: pytest.TempPathFactory, redis_url: str, folder: Path
) -> Iterator[Processes]:
    for made in processes(tmp_path_factory.mktemp("runner"), redis_url):
        made.spawn("runner", "--reload", "--bot", str(folder / "bot.py"), "--capacity", "9")
        yield made


@pytest.fixture
async def runner(plane: Processes) -> AsyncIterator[Runner]:
    (part,) = plane.parts
    await ready(part)
    async with RedisStore(plane.redis_url) as store, client() as http:
        yield Runner(part, store, http)


def release(folder: Path, version: int, text: str = BOT) -> Path:
    """Write a version of the bot file; return its folder."""
    directory = folder / f"release-{version}"
    directory.mkdir()
    (directory / "bot.py").write_text(text.format(version=version))
    return directory


def count(runner: Runner, message: str) -> int:
    """How many lines of the runner have this message."""
    return sum(message in line["message"] for line in list(runner.part.records))


async def reloads(runner: Runner, before: int) -> None:
    """Wait until the bot files are loaded once more."""
    await until(lambda: count(runner, "are loaded again") > before, 30)


async def said_by(runner: Runner) -> tuple[Launch, str]:
    """Start a session; return it and what its bot prints."""
    launch = await runner.run("anything")

    def printed() -> str | None:
        said = [line["message"] for line in runner.lines(launch) if line.get("raw")]
        return next((text for text in said if text.startswith("version")), None)

    text: str = await until(printed)
    return launch, text


async def test_live_call_outlives_the_reload_of_its_bot(runner: Runner, folder: Path) -> None:
    """New calls have the new version; the earlier fork server ends with its last call."""
    await until(lambda: count(runner, "Watching the bot files") == 1)
    old, text = await said_by(runner)
    assert text == "version 1 first a"
    (old_server,) = preloaders(runner)
    # A module beside the bot file, replaced by rename as editors do.
    (folder / "prompts.py~").write_text("NAME = 'second'\n")
    (folder / "prompts.py~").replace(folder / "prompts.py")
    await reloads(runner, 0)
    new, text = await said_by(runner)
    assert text == "version 1 second a"
    assert is_running(await runner.pid(old))
    assert len(preloaders(runner)) == 2
    assert await runner.leave(old)
    assert (await runner.end(old)).reason == "left"
    await until(lambda: old_server not in preloaders(runner))
    assert is_running(await runner.pid(new))
    assert await runner.leave(new)


def preloaders(runner: Runner) -> list[int]:
    """The fork servers of the runner: its children with children."""
    return [pid for pid in children_of(runner.part.pid) if children_of(pid)]


async def test_swapped_link_and_environment_file_are_changes(runner: Runner, folder: Path) -> None:
    """The path of the bot file stays; what it leads to is another file."""
    before = count(runner, "are loaded again")
    release(folder, 2)
    (folder / "next").symlink_to("release-2")
    (folder / "next").replace(folder / "current")
    await reloads(runner, before)
    (folder / ".env").write_text("KEY=bb\n")
    await reloads(runner, before + 1)
    launch, text = await said_by(runner)
    assert text == "version 2 second bb"
    assert await runner.leave(launch)


async def test_file_that_does_not_load_leaves_the_earlier_version(
    runner: Runner, folder: Path
) -> None:
    """Its error has the line; the next save is tried again."""
    before = count(runner, "are loaded again")
    prompts = folder / "prompts.py"
    for text, error in {
        "import later\nNAME = later.NAME\n": "No module named 'later'",
        "NAME = (\n": "SyntaxError",
    }.items():
        prompts.write_text(text)
        await until(functools.partial(count, runner, error), 30)
    errors = [line for line in runner.part.records if line["level"] == "error"]
    assert all(f"Bot file {folder / 'bot.py'}, line 3, cannot be" in e["message"] for e in errors)
    assert all(e["message"].endswith("(prompts.py, line 1).") for e in errors)
    await until(lambda: count(runner, "calls use the earlier version") == 2)
    launch, said = await said_by(runner)
    assert said.startswith("version 2 second")
    assert await runner.leave(launch)
    assert count(runner, "are loaded again") == before
    prompts.write_text("import later\nNAME = later.NAME\n")
    (folder / "later.py").write_text("NAME = 'third'\n")
    await reloads(runner, before)
    launch, said = await said_by(runner)
    assert said == "version 2 third bb"
    assert await runner.leave(launch)


async def test_fork_server_that_dies_after_a_reload_is_replaced(runner: Runner) -> None:
    """As one that was never reloaded."""
    await until(
        lambda: len(preloaders(runner)) == 1
    )  # that of an earlier version ends with its last call
    (server,) = preloaders(runner)
    os.kill(server, 9)
    await until(lambda: count(runner, "The bots are loaded again") == 1, 30)
    launch, _ = await said_by(runner)
    assert await runner.leave(launch)


async def test_file_written_in_steps_is_loaded_once(runner: Runner, folder: Path) -> None:
    """A file that is still being written is not loaded."""
    before = count(runner, "loading the bot files again")
    for number in range(8):
        (folder / "later.py").write_text(f"NAME = 'step {number}'\n")
        await asyncio.sleep(0.1)
    done = count(runner, "are loaded again")
    await reloads(runner, done)
    launch, said = await said_by(runner)
    assert "step 7" in said
    assert await runner.leave(launch)
    # A slow machine may pause between two steps; eight loads would mean that nothing waits.
    assert count(runner, "loading the bot files again") - before < 4


def test_missing_module_is_watched_where_it_would_be(tmp_path: Path) -> None:
    """In the bot's folder; a package that is installed is not watched."""
    file = tmp_path / "bot.py"
    file.write_text("import later, aiohttp, os\nfrom pipecat.services import tts_service\n")
    found: Any = {path.relative_to(tmp_path).as_posix() for path in find_own_files(file)}
    assert found == {"bot.py", "later.py", "later/__init__.py"}
