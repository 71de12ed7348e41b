"""In our own sources nobody prints, and nobody takes a logger that is not ours."""

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
def test_lint_refuses_it(code: str, rule: str) -> None:
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
