"""Runs programs by Node.js."""

import shutil
import sys
from pathlib import Path

import pytest

from tests_support import output_of

ROOT = Path(__file__).parents[2]
NODE = shutil.which("node", path=str(Path(sys.executable).parent)) or shutil.which("node")


def node(script: str, given: str = "", **variables: str) -> str:
    """Run a script of this folder; return its output."""
    if NODE is None:
        pytest.skip("no Node.js: make dev installs it into .venv")
    command = [NODE, f"tests/javascript/{script}"]
    return output_of(command, given, cwd=ROOT, env=variables)
