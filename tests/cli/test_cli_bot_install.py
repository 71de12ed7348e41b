"""`cordboard up` offers to install what the requirements beside a bot file lack, and never does it unasked."""

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from cordboard.cli import _bot_install, main


@pytest.fixture
def bot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bot file whose requirement is in a folder of packages; pip installs into another folder."""
    packages = tmp_path / "packages"
    packages.mkdir()
    with zipfile.ZipFile(packages / "tiny_brain-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny_brain.py", "")
        info = "tiny_brain-1.0.dist-info"
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-brain\nVersion: 1.0\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    for name, value in {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(packages),
        "PIP_TARGET": str(tmp_path / "site"),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PATH": "/usr/bin:/bin",
    }.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "requirements.txt").write_text("tiny-brain==1.0\n")
    file = tmp_path / "bot.py"
    file.write_text("async def bot(args): ...\n")
    return file


class Terminal(io.StringIO):
    """A stream that counts as a terminal."""

    def isatty(self) -> bool:
        return True


def offer(
    bot: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    install: bool | None = None,
    answer: str | None = None,
) -> str:
    """Offer; return what is printed by this process. `answer` is that of a user at a terminal."""
    stderr = io.StringIO() if answer is None else Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setattr(sys, "stdin", io.StringIO("yes\n") if answer is None else Terminal(answer))
    # A process needs a file: what pip prints is not of interest here.
    monkeypatch.setattr(subprocess, "run", _run)
    _bot_install.offer([str(bot)], install=install)
    return stderr.getvalue()


_original_run = subprocess.run


def _run(command: list[str], **_: object) -> object:
    return _original_run(command, capture_output=True, check=False)


def is_installed(bot: Path) -> bool:
    """Whether pip has installed the requirement."""
    return (bot.parent / "site" / "tiny_brain.py").is_file()


def test_missing_requirement_is_named_and_asked_for(
    bot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what is missing; the answer no leaves it so, with the command."""
    (bot.parent / "requirements.txt").write_text("pytest\ntiny-brain==1.0\n")
    printed = offer(bot, monkeypatch, answer="\n")
    assert (
        f"{bot.parent / 'requirements.txt'} lists packages that are not installed: tiny-brain==1.0\n"
        in printed
    )
    assert f"Install it with pip into {sys.prefix}? [y/N]" in printed
    assert f"install -r {bot.parent / 'requirements.txt'}, or cordboard up --install" in printed
    assert not is_installed(bot)


@pytest.mark.parametrize("answer", ["", "n\n", "no\n", "maybe\n"])
def test_nothing_is_installed_without_a_yes(
    bot: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    """Also at the end of the input."""
    offer(bot, monkeypatch, answer=answer)
    assert not is_installed(bot)


def test_nothing_is_asked_without_a_terminal(bot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script would wait for ever; it gets the command."""
    printed = offer(bot, monkeypatch)
    assert "[y/N]" not in printed
    assert "or cordboard up --install" in printed
    assert not is_installed(bot)


def test_no_install_asks_nothing(bot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even at a terminal."""
    assert "[y/N]" not in offer(bot, monkeypatch, install=False, answer="y\n")
    assert not is_installed(bot)


@pytest.mark.parametrize(("install", "answer"), [(None, "y\n"), (None, "Yes\n"), (True, None)])
def test_pip_installs_with_consent(
    bot: Path, monkeypatch: pytest.MonkeyPatch, install: bool | None, answer: str | None
) -> None:
    """By an answer, or by the option; nothing else is printed."""
    printed = offer(bot, monkeypatch, install=install, answer=answer)
    assert is_installed(bot)
    assert "To install it" not in printed


def test_met_requirements_are_silent(bot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most starts print nothing."""
    (bot.parent / "requirements.txt").write_text("pytest\n")
    assert offer(bot, monkeypatch, answer="y\n") == ""


def test_failure_of_pip_ends_the_command(
    bot: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With pip's words, ours, and the exit status 1; no component is started."""
    monkeypatch.setenv("XDG_STATE_HOME", str(bot.parent / "state"))
    (bot.parent / "requirements.txt").write_text("tiny-brain==2.0\n")
    assert main(["up", "--bot", str(bot), "--install"]) == 1
    printed = capfd.readouterr()
    assert "No matching distribution found for tiny-brain==2.0" in printed.err
    assert f"pip could not install what {bot.parent / 'requirements.txt'} requires" in printed.err
    assert "cordboard up --no-install" in printed.err
    assert printed.out == ""


def test_requirement_that_breaks_cordboard_is_refused_by_pip(
    bot: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pip gets what Cordboard itself requires as constraints."""
    monkeypatch.setenv("XDG_STATE_HOME", str(bot.parent / "state"))
    (bot.parent / "requirements.txt").write_text("pipecat-ai==0.1\n")
    assert main(["up", "--bot", str(bot), "--install"]) == 1
    assert "pipecat-ai==0.1 (installed: " in (printed := capfd.readouterr().err)
    assert "The user requested (constraint) pipecat-ai<2,>=1.14" in printed


def test_malformed_environment_file_ends_the_command(
    bot: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is installed or started."""
    monkeypatch.setenv("XDG_STATE_HOME", str(bot.parent / "state"))
    (bot.parent / ".env").write_text("A=1\nB\n=2\n")
    assert main(["up", "--bot", str(bot), "--install"]) == 1
    assert f"cordboard: Environment file {bot.parent / '.env'}, line 3: " in capfd.readouterr().err
    assert not is_installed(bot)
