"""The completion scripts complete what the commands really take."""

import shlex
import shutil
import subprocess
import sys

import pytest

from cordboard.cli import COMMANDS


def script(shell: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "cordboard", "completion", shell],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def completed(*words: str) -> list[str]:
    """What bash offers for the last word."""
    typed = " ".join(shlex.quote(word) for word in words)
    asked = (
        f"COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; "
        '_shtab_cordboard; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", f"{script('bash')}\n{asked}"], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_bash_completes_commands_and_options() -> None:
    """Commands come from the table, options from each command's own parser."""
    assert set(completed("cordboard", "")) >= set(COMMANDS)
    assert completed("cordboard", "call", "--sa") == ["--say"]
    assert completed("cordboard", "call", "webrtc:demo", "-o", "") == ["pretty", "json"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_of_each_shell_has_every_command(shell: str) -> None:
    """No shell is left behind; where it is installed, it accepts its script."""
    text = script(shell)
    assert all(name in text for name in COMMANDS)
    if found := shutil.which(shell):
        subprocess.run([found, "-n"], input=text, text=True, check=True)
