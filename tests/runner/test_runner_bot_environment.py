"""A bot's own environment: the `.env` beside its file, its log handlers, its command line.

Two bots on one runner are as two processes of Python.
"""

import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cordboard.contract.errors import BotFileError
from cordboard.contract.launch import Launch
from cordboard.emit import capture
from cordboard.runner.bot_environment import (
    check_environment_file,
    read_environment_file,
    report_environment_file,
    set_environment,
)
from cordboard.store import RedisStore
from plane_support import Processes, ready
from runner.runner_support import Runner, client, processes, write_bot
from tests_support import until

BOT = """
import argparse, json, logging, os, sys
from pathlib import Path
from loguru import logger
import prompts

logger.remove(0)
logger.add(Path(__file__).with_name("own.log"), format="{message}")
logger.configure(extra={"whose": prompts.NAME})
logging.basicConfig(force=True, level=logging.DEBUG)
NAMES = ("KEY", "LEVEL", "BOTH", "REDIS_URL", "ENV", "BOT_CONTROL_SHARED_SECRET")
AT_IMPORT = {name: os.environ.get(name) for name in NAMES}

async def bot(args):
    logger.info("hello of " + prompts.NAME)
    found = {
        "import": AT_IMPORT,
        "call": {name: os.environ.get(name) for name in NAMES},
        "voice": args.cli_args.voice,
        "port": args.cli_args.port,
    }
    Path(args.body["file"]).write_text(json.dumps(found))

if __name__ == "__main__":
    from pipecat.runner.run import main
    parser = argparse.ArgumentParser()
    parser.add_argument("--voice", default="alto")
    main(parser)
"""


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Processes]:
    directory = tmp_path_factory.mktemp("runner")
    for made in processes(directory, redis_url):
        bots = []
        for name in ("one", "two"):
            folder = directory / name
            folder.mkdir()
            (folder / "prompts.py").write_text(f"NAME = {name!r}\n")
            (folder / ".env").write_text(
                f'KEY="of {name}"\nBOTH=file\nexport LEVEL=${{KEY}}!\n'
                "REDIS_URL=redis://own:1\nBOT_CONTROL_SHARED_SECRET=theirs\n"
            )
            bots += ["--bot", f"{name}={write_bot(folder, BOT, 'bot.py')}"]
        made.spawn("runner", *bots, "--", "--voice", "bass", env={"BOTH": "environment"})
        yield made


@pytest.fixture
async def runner(plane: Processes) -> AsyncIterator[Runner]:
    (part,) = plane.parts
    await ready(part)
    async with RedisStore(plane.redis_url) as store, client() as http:
        yield Runner(part, store, http)


async def report_of(runner: Runner, tmp_path: Path, bot: str) -> dict[str, Any]:
    """What a session of a bot finds."""
    file = tmp_path / f"{bot}.json"
    room = f"https://rooms.example/{bot}"
    body = {"room_url": room, "bot": bot, "body": {"file": str(file)}}
    status, answer = await runner.ask_start(body)
    assert status == 200, answer
    launch = Launch(answer["sessionId"], room, epoch=answer["epoch"])
    assert (await runner.end(launch)).reason == "bot_finished"
    await until(lambda: [line["message"] for line in runner.lines(launch)].count(f"hello of {bot}"))
    report: dict[str, Any] = json.loads(file.read_text())
    return report


@pytest.mark.parametrize("bot", ["one", "two"])
async def test_two_bots_have_what_each_has_alone(
    runner: Runner, plane: Processes, tmp_path: Path, bot: str
) -> None:
    """Variables, modules, handlers of loguru, and the arguments after two dashes."""
    report = await report_of(runner, tmp_path, bot)
    assert report["import"] == report["call"]
    assert report["call"] == {
        "KEY": f"of {bot}",
        "LEVEL": f"of {bot}!",
        "BOTH": "environment",
        "REDIS_URL": "redis://own:1",
        "ENV": "local",
        "BOT_CONTROL_SHARED_SECRET": None,
    }
    assert (report["voice"], report["port"]) == ("bass", 7860)
    own_log = (plane.directory / bot / "own.log").read_text()
    assert set(own_log.splitlines()) == {f"hello of {bot}"}


async def test_runner_reports_the_file_without_values(runner: Runner) -> None:
    """One line for each file, with the number of its variables."""
    lines = [line for line in runner.part.records if ".env" in str(line.get("meta"))]
    read = [
        line["meta"] for line in lines if line["message"] == "Environment file read for the bot"
    ]
    assert sorted(Path(meta["file"]).parent.name for meta in read) == ["one", "two"]
    assert {meta["variables"] for meta in read} == {5}
    assert "theirs" not in json.dumps(runner.part.records)
    assert "of one" not in json.dumps(lines)
    left_out = [line["meta"]["names"] for line in lines if "left out" in line["message"]]
    assert left_out == [["BOT_CONTROL_SHARED_SECRET"]] * 2


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test change the environment."""
    monkeypatch.setattr(os, "environ", os.environ.copy())


def beside(directory: Path, content: bytes) -> Path:
    """Write a `.env`; return the path of a bot file beside it."""
    (directory / ".env").write_bytes(content)
    return directory / "bot.py"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"A=1\n\n\nB C\n", r"\.env, line 4: expected NAME=VALUE\."),
        (b"A=1\nB='unclosed\nC=3\n", r"\.env, line 2: expected NAME=VALUE\."),
        (b"=secret\n", r"\.env, line 1: expected NAME=VALUE\."),
        (b"A=\xff\n", r"\.env: byte 2 is not UTF-8\."),
    ],
)
def test_malformed_file_is_an_error_with_the_line(
    tmp_path: Path, content: bytes, said: str
) -> None:
    """Without the line's text, which may be a secret."""
    with pytest.raises(BotFileError, match=said) as caught:
        check_environment_file(beside(tmp_path, content))
    assert "secret" not in str(caught.value)
    assert "unclosed" not in str(caught.value)


def test_unreadable_file_is_an_error(tmp_path: Path) -> None:
    """It is not taken for an absent one."""
    (tmp_path / "there").mkdir()
    with pytest.raises(BotFileError, match="Is a directory"):
        read_environment_file(tmp_path / "there")


def test_absent_file_is_no_error(tmp_path: Path) -> None:
    """A directory of that name is none either."""
    (tmp_path / ".env").mkdir()
    with capture() as records:
        report_environment_file(tmp_path / "bot.py")
    assert records == []


def test_krisp_decides_whether_the_environment_is_local(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Official bots import Krisp unless ENV is `local`, as Pipecat's own runner sets it."""
    file = tmp_path / "bot.py"
    os.environ.pop("ENV", None)
    set_environment(file)
    assert os.environ["ENV"] == "local"
    os.environ["ENV"] = "production"
    set_environment(file)
    assert os.environ["ENV"] == "production"
    del os.environ["ENV"]
    krisp = ModuleType("krisp_audio")
    krisp.__spec__ = json.__spec__
    monkeypatch.setitem(sys.modules, "krisp_audio", krisp)
    set_environment(file)
    assert "ENV" not in os.environ
