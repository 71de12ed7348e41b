"""The options about bot files reach the processes that `cordboard up` starts."""

import os
from pathlib import Path
from typing import Any

import pytest

from cordboard.cli import _options, main
from cordboard.contract.errors import UsageError
from cordboard.settings import Settings
from cordboard.up import supervisor
from cordboard.up.start_plan import (
    Options,
    SharedSecrets,
    component_arguments,
    component_environment,
)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Options]:
    """The options of each `up` that would have started."""
    found: list[Options] = []

    class Recorder:
        def __init__(self, _settings: Settings, options: Options) -> None:
            found.append(options)

        async def run(self) -> int:
            return 0

    monkeypatch.setattr(supervisor, "Supervisor", Recorder)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(os, "environ", os.environ.copy())
    os.environ.pop("CORDBOARD_BOT_ARGUMENTS", None)
    return found


def write(directory: Path) -> str:
    """Write a bot file; return its path."""
    path = directory / "bot.py"
    path.write_text("async def bot(args): ...\n")
    return str(path)


def test_arguments_after_two_dashes_reach_the_runners_of_up(
    started: list[Options], tmp_path: Path
) -> None:
    """In the environment, so that cold runners get them as well; quoted, as in a shell."""
    assert main(["up", "--bot", write(tmp_path), "--", "--voice", "two words", "--bot"]) == 0
    assert started[0].bots == (str(tmp_path / "bot.py"),)
    environment = component_environment("operator", "", SharedSecrets("", None, ""))
    given = environment["CORDBOARD_BOT_ARGUMENTS"]
    assert _options.bot_arguments(None, given) == ("--voice", "two words", "--bot")


def test_two_dashes_alone_mean_no_arguments(started: list[Options], tmp_path: Path) -> None:
    """Even if the setting has some."""
    os.environ["CORDBOARD_BOT_ARGUMENTS"] = "--voice bass"
    assert main(["up", "--bot", write(tmp_path), "--"]) == 0
    assert os.environ["CORDBOARD_BOT_ARGUMENTS"] == ""
    assert len(started) == 1


def test_word_without_two_dashes_is_refused(
    started: list[Options], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """`cordboard up bot.py` must not start the built-in bot."""
    with pytest.raises(SystemExit):
        main(["up", write(tmp_path)])
    assert "unrecognized arguments" in capfd.readouterr().err
    assert not started


@pytest.mark.parametrize("reload", [True, False])
def test_reload_reaches_the_runner_alone(
    started: list[Options], tmp_path: Path, reload: bool
) -> None:
    """Cold runners import the bot file for each session anyway."""
    words: list[str] = ["--reload"] * reload
    assert main(["up", "--bot", write(tmp_path), *words]) == 0
    ports = dict.fromkeys(started[0].ports, 1)
    arguments: Any = component_arguments(started[0], Settings(), ports)
    having = [name for name, own in arguments.items() if "--reload" in own]
    assert having == (["runner"] if reload else [])


def test_setting_that_is_no_list_of_words_is_an_error() -> None:
    """An open quote."""
    with pytest.raises(UsageError, match="bot_arguments"):
        _options.bot_arguments(None, "--voice 'bass")
    assert _options.bot_arguments(["--voice", "alto"], "--voice 'bass") == ("--voice", "alto")
    assert _options.bot_arguments(None, "--voice 'two words'") == ("--voice", "two words")
