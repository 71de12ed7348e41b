"""The options about bot files reach the processes that `cordboard up` starts."""

import os
from pathlib import Path
from typing import Any

import pytest

from cordboard.cli import _options, main
from cordboard.contract.errors import UsageError
from cordboard.edge.phone.carriers import CARRIERS
from cordboard.environment import ACCOUNT_VARIABLES
from cordboard.settings import Settings
from cordboard.settings.phone import CarrierAccount, PhoneSettings
from cordboard.up import supervisor
from cordboard.up.start_plan import (
    Options,
    SharedSecrets,
    accounts_of_bots,
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
    environment = component_environment("operator", "", SharedSecrets("", None, ""), {})
    given = environment["CORDBOARD_BOT_ARGUMENTS"]
    assert _options.bot_arguments(None, given) == ("--voice", "two words", "--bot")


def test_edge_of_up_gets_the_accounts_of_the_bots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those at room services and carriers, from the `.env` beside each bot file, and nothing else of it."""
    for name in ("DAILY_API_KEY", "TWILIO_AUTH_TOKEN", "SUPPORT_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LIVEKIT_URL", "wss://set.example")
    bots = []
    for name, text in (
        ("one", "DAILY_API_KEY=first\nOPENAI_API_KEY=bot's\nBOT_CONTROL_SHARED_SECRET=other\n"),
        ("two", "DAILY_API_KEY=second\nSUPPORT_KEY=k\nLIVEKIT_URL=wss://file.example\n"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / ".env").write_text(text)
        bots.append(f"{name}={write(tmp_path / name)}")
    account = CarrierAccount(name="twilio", secret_sources={"auth_token_env": "SUPPORT_KEY"})
    settings = Settings(phone=PhoneSettings(carriers={"twilio": account}))
    accounts = accounts_of_bots(Options(bots=tuple(bots)), settings)
    assert accounts == {"DAILY_API_KEY": "first", "SUPPORT_KEY": "k"}
    secrets = SharedSecrets("ours", None, "")
    edge = component_environment("edge", "", secrets, accounts)
    assert accounts.items() <= edge.items()
    assert edge["BOT_CONTROL_SHARED_SECRET"] == "ours"
    assert "SUPPORT_KEY" not in component_environment("gateway", "", secrets, accounts)


def test_environment_names_every_account_of_the_carriers() -> None:
    """`up` reads the names from one list, and the edge from the tables of the carriers."""
    names = {name for carrier in CARRIERS.values() for name in carrier.variables.values()}
    assert names <= set(ACCOUNT_VARIABLES)


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
def test_reload_reaches_the_runners_alone(
    started: list[Options], tmp_path: Path, reload: bool
) -> None:
    """Cold runners import the bot file for each session anyway."""
    words: list[str] = ["--reload"] * reload
    assert main(["up", "--bot", write(tmp_path), *words]) == 0
    ports = dict.fromkeys(started[0].ports, 1)
    arguments: Any = component_arguments(started[0], Settings(), ports)
    having = [name for name, own in arguments.items() if "--reload" in own]
    assert having == (["runner", "runner-2"] if reload else [])


def test_setting_that_is_no_list_of_words_is_an_error() -> None:
    """An open quote."""
    with pytest.raises(UsageError, match="bot_arguments"):
        _options.bot_arguments(None, "--voice 'bass")
    assert _options.bot_arguments(["--voice", "alto"], "--voice 'bass") == ("--voice", "alto")
    assert _options.bot_arguments(None, "--voice 'two words'") == ("--voice", "two words")
