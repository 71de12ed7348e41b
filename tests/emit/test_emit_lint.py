"""The sources of the project neither print nor use other loggers."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ("print(1)", "T201"),
        ("import logging\nlogging.getLogger('x')", "TID251"),
        ("from logging import getLogger\ngetLogger('x')", "TID251"),
    ],
)
def test_lint_refuses_print_and_other_loggers(code: str, rule: str) -> None:
    """The project's own configuration of ruff refuses the line, anywhere in src."""
    command = [
        sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format=concise",
        "--stdin-filename", "src/cordboard/gateway/new.py", "-",
    ]  # fmt: skip
    done = subprocess.run(
        command, input=code, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert rule in done.stdout
    assert done.returncode == 1


def test_services_ignore_a_session_in_the_environment() -> None:
    """No service takes BOT_SESSION_ID; only a bot process belongs to one session."""
    source = ROOT / "src" / "cordboard"
    texts = {file.relative_to(source): file.read_text("utf-8") for file in source.rglob("*.py")}
    calls = {
        str(name): call
        for name, text in texts.items()
        if name.parts[0] != "emit"
        for call in re.findall(r"\bconfigure\(service=.*\)", text)
    }
    assert len(calls) >= 7, calls
    excluded = {name for name, call in calls.items() if "session_from_environment=False" in call}
    assert calls.keys() - excluded == {"runner/bot_process.py"}
