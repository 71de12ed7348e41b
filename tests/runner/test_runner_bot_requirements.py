"""The requirements beside a bot file, and which of them are not met."""

from importlib.metadata import version
from pathlib import Path

import pytest

from cordboard.contract.errors import BotFileError
from cordboard.runner.bot_requirements import find_requirements, own_constraints


def unmet(directory: Path, text: str, name: str = "requirements.txt") -> list[str]:
    """The requirements of a file that are not met."""
    (directory / name).write_text(text)
    found = find_requirements(directory / "bot.py")
    assert found is not None
    return [str(item) for item in found.unmet]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# not-there\n\n   # not-there\n",
        "pytest\nPyTest >= 7 # a comment\n",
        "pipecat_ai[webrtc]>=1\ncordboard\n",
        "not-there; python_version < '3'\n",
        "--index-url https://example.com/simple\n-c constraints.txt\n-e ../not-there\n",
        "./local\n/absolute\nhttps://example.com/not_there.whl\ngit+https://example.com/not-there\n",
        "local-folder\n",
        "pytest \\\n    >= 7 \\\n    --hash=sha256:0123\n",
        "\ufeffpytest\n",
    ],
)
def test_what_is_installed_or_unknown_is_met(tmp_path: Path, text: str) -> None:
    """What has no name is unknown until pip has it."""
    (tmp_path / "local-folder").mkdir()
    assert unmet(tmp_path, text) == []


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("pytest\nnot-there>=1 ; python_version > '3' # why\n", ["not-there>=1 ; python_version > '3'"]),
        ("pytest<1\n", [f"pytest<1 (installed: {version('pytest')})"]),
        ("pipecat-ai[webrtc,deepgram]\n", ["pipecat-ai[webrtc,deepgram]"]),
        ("not-there @ https://example.com/a.whl\n", ["not-there @ https://example.com/a.whl"]),
        ("not-there \\\n  --hash=sha256:0123\nalso-not\n", ["not-there", "also-not"]),
    ],
)  # fmt: skip
def test_what_is_missing_is_listed(tmp_path: Path, text: str, missing: list[str]) -> None:
    """An extra of an installed package, and a version that does not fit, too."""
    assert unmet(tmp_path, text) == missing


@pytest.mark.parametrize("line", ["-r more/other.txt", "--requirement=more/other.txt", "-rmore/other.txt"])  # fmt: skip
def test_other_files_are_read(tmp_path: Path, line: str) -> None:
    """Once, even if two include each other."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "other.txt").write_text("not-there\n-r ../requirements.txt\n")
    assert unmet(tmp_path, f"{line}\n") == ["not-there"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"pytest\n\npytest = 1\n", r"requirements.txt, line 3: expected a requirement .* got 'pytest = 1'"),
        (b"a \\\n\\\n>=>= 1\n", r"requirements.txt, line 1: expected a requirement"),
        (b"-r absent.txt\n", r"requirements.txt, line 1: there is no file .*absent.txt"),
        (b"a\xff", r"requirements.txt: byte 1 is not UTF-8"),
    ],
)  # fmt: skip
def test_malformed_file_is_an_error_with_the_line(
    tmp_path: Path, content: bytes, said: str
) -> None:
    """Pip's own message would come only after the question."""
    (tmp_path / "requirements.txt").write_bytes(content)
    with pytest.raises(BotFileError, match=said):
        find_requirements(tmp_path / "bot.py")


def test_dependencies_of_a_project_are_used_without_a_requirements_file(tmp_path: Path) -> None:
    """As the template of Pipecat's command line has them."""
    project = '[project]\nname = "bot"\ndependencies = ["pytest", "not-there>=1"]\n'
    assert unmet(tmp_path, project, "pyproject.toml") == ["not-there>=1"]
    found = find_requirements(tmp_path / "bot.py")
    assert found is not None
    assert found.install_arguments == ("pytest", "not-there>=1")
    assert unmet(tmp_path, "pytest\n") == []


@pytest.mark.parametrize(
    "text", ["[project", "project = 1\n", "[project]\ndependencies = ['a b']\n"]
)
def test_malformed_project_is_an_error(tmp_path: Path, text: str) -> None:
    """With the path of the file."""
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(BotFileError, match=r"pyproject\.toml: "):
        find_requirements(tmp_path / "bot.py")


def test_project_without_dependencies_requires_nothing(tmp_path: Path) -> None:
    """It may configure a tool only."""
    assert unmet(tmp_path, "[tool.ruff]\nline-length = 100\n", "pyproject.toml") == []


def test_folder_without_these_files_has_no_requirements(tmp_path: Path) -> None:
    """Most have none."""
    assert find_requirements(tmp_path / "bot.py") is None


def test_constraints_keep_what_cordboard_needs() -> None:
    """A bot that pins an old Pipecat must not break the runner."""
    assert "pipecat-ai<2,>=1.14" in own_constraints()
