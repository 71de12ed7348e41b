"""What the workflows, `.ci/run`, the Makefile and the scripts name exists: a path that has moved fails nowhere else."""

import re
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from docs_support import ROOT

FILES = [
    *(ROOT / ".github" / "workflows").glob("*.yml"),
    ROOT / ".ci" / "run",
    ROOT / "Makefile",
    ROOT / "deploy" / "Dockerfile",
    *(ROOT / "requirements").glob("*.sh"),
    *(ROOT / "scripts").glob("*.sh"),
]
# A path below a folder of the repository, from its root; a star at its end stands for anything.
PATH = re.compile(r"(?<![\w./$~+-])\.?[A-Za-z][\w.-]*(?:/[\w.-]*[\w-])+\*?")
# The steps write these; they are in no fresh checkout.
MADE = re.compile(
    r"(\.venv|\.make|benchmarks/out|clients/js/types|docs/coverage\.md|.*/(node_modules|\.next))(/.*)?"
)


def paths_in(text: str) -> list[str]:
    """Return the paths of a text that begin with a folder of the repository."""
    found = [match.group() for match in PATH.finditer(text)]
    return [path for path in found if (ROOT / path.partition("/")[0]).is_dir()]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_paths_exist(file: Path) -> None:
    """Each path of the repository that a step names is there."""
    named = [path for path in paths_in(file.read_text()) if not MADE.fullmatch(path)]
    assert [path for path in named if not any(ROOT.glob(path))] == []


def test_paths_are_found() -> None:
    """Otherwise the test above shows nothing."""
    text = 'run: make test ARGS="tests/store tests/gone/test_gone.py" # ../tests/x $HOME/docs/y'
    assert paths_in(text) == ["tests/store", "tests/gone/test_gone.py"]
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert {"tests/store", "tests/cli/test_cli_redis.py"} <= {*paths_in(workflow)}


def test_verbs_of_make_exist() -> None:
    """Workflows and `.ci/run` call targets of the Makefile."""
    targets = {*re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)}
    texts = [(ROOT / ".ci" / "run").read_text()]
    for file in (ROOT / ".github" / "workflows").glob("*.yml"):
        jobs = yaml.safe_load(file.read_text())["jobs"].values()
        texts += [step.get("run", "") for job in jobs for step in job["steps"]]
    called = {verb for text in texts for verb in re.findall(r"^make ([a-z]+)", text, re.MULTILINE)}
    assert {"lint", "test", "coverage"} <= called <= targets


def test_servers_are_those_of_the_requirements() -> None:
    """The store is tested with each major version that the page on operations names, and a failure counts."""
    page = (ROOT / "docs" / "operations.md").read_text()
    sentence = page[page.index("The tests of the store ran with Redis") :].partition(":")[0]
    redis, _, valkey = sentence.partition("Valkey")
    asked = {
        f"{name} {major}"
        for name, text in (("redis", redis), ("valkey", valkey))
        for major in re.findall(r"\b(\d+)\.\d", text)
    }
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    job = workflow["jobs"]["servers"]
    tested = {
        f"{image.split(':')[0].split('/')[-1]} {image.split(':')[1].split('.')[0]}"
        for image in job["strategy"]["matrix"]["image"]
    }
    assert tested == asked
    assert "continue-on-error" not in job
