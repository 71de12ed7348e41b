"""Finds the bots of a folder of examples, loads them, and says why those that do not load do not.

The official examples are no part of this project. Fetch https://github.com/pipecat-ai/pipecat and
https://github.com/pipecat-ai/pipecat-examples, and name the folders::

    CORDBOARD_EXAMPLES=pipecat/examples:pipecat-examples
    CORDBOARD_EXAMPLES_PYTHON=venv/bin/python    # has Cordboard, and the SDKs of the examples
    CORDBOARD_EXAMPLES_REPORT=corpus.md         # default: .make/corpus.md
"""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

LOADER = Path(__file__).with_name("corpus_loader.py")
PROCESSES = 2
# The 424 official bots take 5 minutes together on two quiet cores, and over an hour on very busy ones.
ALL_S = 4 * 3600
_BOT = re.compile(r"^async def bot\(", re.MULTILINE)
_AS_PYTHON = """
import runpy, sys
sys.path[0] = sys.argv[2]
runpy.run_path(sys.argv[1], run_name="example")
"""


@dataclass(frozen=True)
class Examples:
    """Folders of bots, and the Python that has what they import."""

    folders: tuple[Path, ...]
    python: str
    report: Path

    def bots(self) -> list[Path]:
        """Return the bot files in all folders."""
        files = (file for folder in self.folders for file in folder.rglob("*.py"))
        return sorted(file for file in files if _BOT.search(file.read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Loaded:
    """What came of one bot file."""

    file: str
    error: str
    hint: str
    seconds: float
    threads: tuple[str, ...]

    @property
    def cause(self) -> str:
        """The kind of the error, short: ``lacks groq``, or the error itself."""
        missing = re.search(r"No module named '([\w.]+)'", self.error)
        if missing:
            return f"lacks {missing[1]}"
        text = self.error.partition("cannot be imported: ")[2] or self.error
        return text.removesuffix(self.hint).strip()


def official_examples() -> Examples:
    """Return the examples that the environment names; skip the test without them."""
    folders = os.environ.get("CORDBOARD_EXAMPLES")
    if not folders:
        pytest.skip("no examples: CORDBOARD_EXAMPLES names no folder of Pipecat's example bots")
    root = Path(__file__).parents[2]
    return Examples(
        tuple(Path(folder) for folder in folders.split(os.pathsep)),
        os.environ.get("CORDBOARD_EXAMPLES_PYTHON", sys.executable),
        Path(os.environ.get("CORDBOARD_EXAMPLES_REPORT", root / ".make" / "corpus.md")),
    )


def load_all(python: str, files: Sequence[Path]) -> list[Loaded]:
    """Load all files, in two processes that import Pipecat once."""
    running = [
        subprocess.Popen(
            [python, LOADER, *map(str, files[number::PROCESSES])],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    lines: list[str] = []
    try:
        for process in running:
            lines += process.communicate(timeout=ALL_S)[0].splitlines()
    finally:
        for process in running:
            process.kill()
    rows = sorted((json.loads(line) for line in lines), key=lambda row: Path(row["file"]))
    return [Loaded(**row | {"threads": tuple(row["threads"])}) for row in rows]


def runs_as_python(python: str, file: str) -> bool:
    """Return whether Python itself can run the file up to its end."""
    done = subprocess.run(
        [python, "-c", _AS_PYTHON, file, str(Path(file).parent)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        check=False,
    )
    return done.returncode == 0


def write_report(examples: Examples, loaded: Sequence[Loaded]) -> str:
    """Write the report; return its summary."""
    failed = [one for one in loaded if one.error]
    threaded = [one for one in loaded if one.threads]
    middle = sorted(one.seconds for one in loaded)[len(loaded) // 2] if loaded else 0.0
    summary = (
        f"{len(loaded) - len(failed)} of {len(loaded)} example bots load; median {middle:.2f} s; "
        f"{len(threaded)} start threads."
    )
    causes = Counter(one.cause for one in failed)
    lines = [summary, "", "| bots | cause |", "|---|---|"]
    lines += [f"| {count} | {cause} |" for cause, count in causes.most_common()]
    lines += ["", "| bot | error | hint |", "|---|---|---|"]
    lines += [f"| {one.file} | {one.cause} | {one.hint} |" for one in failed]
    examples.report.parent.mkdir(parents=True, exist_ok=True)
    examples.report.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return summary
