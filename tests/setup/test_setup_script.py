"""scripts/setup.sh on machines that lack something: one sentence says what, a second the way out."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = (
    "sh", "dirname", "mkdir", "flock", "sha256sum", "cat", "cut", "grep", "sed", "rm", "head",
    "tail", "date", "sleep", "find", "id", "uname", "env", "kill", "bash",
)  # fmt: skip
PYTHONS = ("python3.14", "python3.13", "python3.12", "python3.11", "python3")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What set-up reads, in a folder of its own, and a PATH without any Python."""
    for name in ("scripts", "requirements", "src"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        if found:
            (tmp_path / "bin" / tool).symlink_to(found)
    return tmp_path


def set_up(clone: Path, **over: str) -> tuple[int, str]:
    done = subprocess.run(
        ["sh", "scripts/setup.sh", "up"],
        cwd=clone,
        env={"PATH": str(clone / "bin"), "HOME": str(clone), **over},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


def python(clone: Path, name: str, script: str) -> None:
    """Put a program of that name on the PATH."""
    file = clone / "bin" / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def test_setup_without_python_names_the_version(clone: Path) -> None:
    """It says which version is wanted and how to get one."""
    status, said = set_up(clone)
    assert status == 1
    assert "Python 3.11 or newer is needed; none was found." in said
    assert "PYTHON=" in said


def test_setup_with_an_old_python_names_its_version(clone: Path) -> None:
    """It names the version that it found."""
    python(clone, "python3", 'case "$*" in *"%d.%d.%d"*) echo 3.9.2;; *) exit 1;; esac')
    status, said = set_up(clone)
    assert status == 1
    assert "Python 3.11 or newer is needed; found only 3.9.2." in said


def test_setup_without_venv_module_names_the_package(clone: Path) -> None:
    """Debian splits it off: the package is named."""
    python(
        clone,
        "python3.11",
        'case "$*" in *"%d.%d.%d"*) echo 3.11.2;; *ensurepip*) exit 1;; *) exit 0;; esac',
    )
    status, said = set_up(clone)
    assert status == 1
    assert "Python 3.11.2 is here, but without its venv module." in said
    assert "PYTHON=" in said or "python3-venv" in said


def test_setup_without_network_leaves_no_stamp(clone: Path) -> None:
    """It says that the network does not answer; what was half done is not taken for done."""
    status, said = set_up(
        clone,
        PYTHON=sys.executable,
        PIP_INDEX_URL="http://127.0.0.1:9/simple",
        PIP_CONFIG_FILE=os.devnull,
        PIP_RETRIES="0",
    )
    assert status == 1
    assert "The packages cannot be fetched: no answer from the network." in said
    assert "Check the connection" in said
    assert not (clone / ".venv" / ".stamp-up").exists()
