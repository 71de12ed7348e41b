"""Runs programs by Node.js."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NODE = shutil.which("node", path=str(Path(sys.executable).parent)) or shutil.which("node")


def node(script: str, given: str = "", **variables: str) -> str:
    """Run a script of this folder; return its output."""
    if NODE is None:
        pytest.skip("no Node.js: make dev installs it into .venv")
    done = subprocess.run(
        [NODE, f"tests/javascript/{script}"],
        cwd=ROOT,
        env=variables,
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
