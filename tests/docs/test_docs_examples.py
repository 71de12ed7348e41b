"""What the pages show works: commands, Python, JSON, TOML; and each example is run by a test."""

import argparse
import ast
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from cordboard.cli import build_parser
from docs_support import ROOT, docs

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_ASSIGNMENTS = re.compile(r"^(?:[A-Z_]+=\S+ +)+")


def blocks(*languages: str) -> Iterator[tuple[Path, str]]:
    """Yield each block of code of these languages, with its page."""
    for page in docs.written_pages():
        for language, code in _BLOCK.findall(page.read_text(encoding="utf-8")):
            if language in languages:
                yield page, code


def commands() -> Iterator[str]:
    """Yield each `cordboard` command of the pages, without what a shell adds to it."""
    for _, code in blocks("sh", "text"):
        for line in code.replace("\\\n", " ").splitlines():
            command = _ASSIGNMENTS.sub("", line.strip())
            if command.startswith("cordboard ") and not command.startswith("cordboard COMMAND"):
                yield re.split(r" {2,}| [|>] | #", command)[0].strip()


@pytest.mark.parametrize("command", sorted({*commands()}))
def test_every_command_of_a_page_is_accepted(command: str) -> None:
    """The parsers take each command that a page or a help text shows."""
    parser: argparse.ArgumentParser = build_parser()
    words = shlex.split(command)[1:]
    end = words.index("--") if "--" in words else len(words)  # the arguments of a bot file follow
    parser.parse_args(words[:end])


@pytest.mark.parametrize("code", [code for _, code in blocks("python")])
def test_every_block_of_python_compiles(code: str) -> None:
    """No page shows Python that is not valid."""
    ast.parse(code)


def test_the_example_of_the_readme_runs() -> None:
    """The Python of the README writes one line, with the session that it binds."""
    (code,) = (code for page, code in blocks("python") if page.name == "README.md")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    (line,) = (json.loads(line) for line in run.stdout.splitlines())
    assert (line["service"], line["sessionId"], line["meta"]) == (
        "billing",
        "call-7",
        {"number": 42},
    )


@pytest.mark.parametrize("code", [code for _, code in blocks("json")])
def test_every_block_of_json_is_valid(code: str) -> None:
    """No page shows JSON that a reader of it would refuse."""
    json.loads(code)


@pytest.mark.parametrize("code", [code for _, code in blocks("toml")])
def test_every_block_of_toml_is_valid(code: str) -> None:
    """No page shows a configuration that is not TOML."""
    tomllib.loads(code)


def test_every_example_is_run_by_a_test() -> None:
    """Each file of examples/ is named by a test that runs it."""
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    files = [path for path in (ROOT / "examples").iterdir() if path.is_file()]
    assert [path.name for path in files if f"examples/{path.name}" not in tests] == []
