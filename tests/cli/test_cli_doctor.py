"""`cordboard doctor`."""

import argparse
import sys
from pathlib import Path

import pytest

from cordboard.cli import doctor, main
from cordboard.contract.errors import BotFileError, CordboardError
from cordboard.runner.bot_check import check_bot


def test_invalid_configuration_is_reported_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What else could not be checked because of it does not repeat it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    file = tmp_path / "cordboard.toml"
    file.write_text('gatewy_url = "x"\n')
    assert main(["doctor", "--config", str(file)]) == 1
    said = capfd.readouterr().out
    assert said.count("FAIL") == said.count("Did you mean gateway_url?") == 1
    assert "FAIL  configuration" in said


@pytest.mark.parametrize(
    ("directory", "said"),
    [
        ("/proc/nope/logs", "FAIL  log directory  Cannot write to /proc/nope/logs: No such file"),
        ("new/logs", "ok    log directory"),
    ],
)
def test_log_directory_is_written_to_and_left_clean(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    directory: str,
    said: str,
) -> None:
    """Where nothing can be made is found out, not guessed; and nothing is left of the trial."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("CORDBOARD_LOG_DIR", str(tmp_path / directory))
    main(["doctor"])
    assert said in capfd.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("compiled", "said"),
    [
        (True, "ok    reading logs   with the C extensions"),
        (
            False,
            "ok    reading logs   without the C extensions, up to six times slower: install a C",
        ),
    ],
)
def test_missing_c_extensions_are_reported(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    compiled: bool,
    said: str,
) -> None:
    """It is told, with the way to get them."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr("cordboard.logs.survey.native", compiled or None)
    main(["doctor"])
    assert said in capfd.readouterr().out


def test_directory_as_bot_file_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said what it is, not that it is not there."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert main(["doctor", "--bot", str(tmp_path)]) == 1
    assert f"Bot file {tmp_path}: this is a directory." in capfd.readouterr().out


def checked(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, text: str
) -> str:
    """What doctor says of a bot file."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("BOT_CONTROL_SHARED_SECRET", "a secret of the plane")
    (tmp_path / "my_bot.py").write_text(text)
    main(["doctor", "--bot", str(tmp_path / "my_bot.py")])
    lines = capfd.readouterr().out.splitlines()
    at = next(i for i, line in enumerate(lines) if line[6:].startswith("bot file"))
    return "\n".join(lines[at : at + 2])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import os\nimport not_there.sub\n", ", line 2, cannot be imported: ModuleNotFoundError"),
        ("import os\nimport not_there.sub\n", f"{sys.executable} -m pip install not_there"),
        (
            "from pipecat.services.deepgram.stt import DeepgramSTTService\n",
            f"Install what it imports: {sys.executable} -m pip install 'pipecat-ai[deepgram]'",
        ),
        ("import os\n1 / 0\n", ", line 2, cannot be imported: ZeroDivisionError"),
        ("import sys\nsys.exit('no key')\n", "cannot be imported: SystemExit: no key"),
        ("def bot(arguments): ...\n", "has no `async def bot(runner_args)`"),
        (
            "from pipecat.no_such_part import some\n",
            "has no module pipecat.no_such_part; the bot file may be for another version of Pipecat.",
        ),
        ("bot = 1\n", "has no `async def bot(runner_args)`"),
        ("import os\nprint('so long')\nos._exit(3)\n", "ended the process that imported it"),
        (
            "import os\nassert 'BOT_CONTROL_SHARED_SECRET' not in os.environ\nasync def bot(_): ...\n",
            "ok    bot file       default: ",
        ),
    ],
)
def test_bot_file_is_imported_as_by_a_runner(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    said: str,
) -> None:
    """What a runner would find is found: by the same words, with the line, and what to install."""
    assert said in checked(tmp_path, capfd, monkeypatch, text)


def test_slow_import_of_a_bot_file_is_stopped(tmp_path: Path) -> None:
    """The check ends, and so does the process that imports."""
    file = tmp_path / "my_bot.py"
    file.write_text("import time\ntime.sleep(1000)\n")
    with pytest.raises(BotFileError, match="was still being imported after 2 s"):
        check_bot("default", str(file), timeout_s=2)


@pytest.mark.parametrize(
    ("setting", "result"),
    [
        ("", "no public_url: clients on this machine only; carriers cannot call"),
        ('public_url = "https://voice.example.com"', "https://voice.example.com; 0 public keys"),
        ('public_url = "http://voice.example.com"', "public_url is http://voice.example.com, but"),
        ('public_url = "voice.example.com"', "Invalid public_url"),
        ('allowed_origins = ["https://a.example/x"]', "allowed_origins: "),
        ('public_keys = ["pk_short"]', "public_keys: "),
    ],
)
def test_settings_of_the_edge_are_checked(tmp_path: Path, setting: str, result: str) -> None:
    """Before a carrier or a browser finds out."""
    file = tmp_path / "cordboard.toml"
    file.write_text(f"{setting}\n")
    try:
        message = doctor.check_edge(argparse.Namespace(config=str(file)))
    except CordboardError as error:
        message = error.message
    assert message.startswith(result)
