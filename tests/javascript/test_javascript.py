"""The unit tests of the browser's code, by Node.js's own test runner: one test for each file."""

import subprocess
from pathlib import Path

import pytest

from javascript.node_support import NODE, ROOT

FILES = sorted(path.name for path in Path(__file__).parent.glob("*.test.js"))


@pytest.mark.parametrize("file", FILES)
def test_browser_code_passes_its_unit_tests(file: str) -> None:
    """`node --test FILE` succeeds; its report is shown where it does not."""
    if NODE is None:
        pytest.skip("no Node.js: make dev installs it into .venv")
    done = subprocess.run(
        [NODE, "--test", f"tests/javascript/{file}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " pass 0\n" not in done.stdout, "the file has no test"
