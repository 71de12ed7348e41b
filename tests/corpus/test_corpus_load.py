"""Official example bots load as they are; each that does not is listed with its cause."""

import sys
from pathlib import Path

import pytest

from corpus.corpus_support import (
    Examples,
    load_all,
    official_examples,
    runs_as_python,
    write_report,
)

GOOD = "import threading\n\nasync def bot(runner_args):\n    pass\n"
LACKING = "import a_service_that_nobody_has\n\n" + GOOD
FAILING = "raise RuntimeError('no key')\n\n" + GOOD


def test_official_examples_load_wherever_python_loads_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A bot that Python itself can import, Cordboard's loader can, too."""
    examples = official_examples()
    files = examples.bots()
    loaded = load_all(examples.python, files)
    assert [one.file for one in loaded] == list(map(str, files))
    summary = write_report(examples, loaded)
    with capsys.disabled():
        sys.stdout.write(f"\n{summary} See {examples.report}\n")
    ours = [
        one
        for one in loaded
        if one.error
        and not one.cause.startswith("lacks")
        and runs_as_python(examples.python, one.file)
    ]
    assert ours == []


def test_report_lists_each_bot_that_does_not_load(tmp_path: Path) -> None:
    for name, text in {"good": GOOD, "lacking": LACKING, "failing": FAILING}.items():
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "helper.py").write_text("def bot(): pass\n")
    examples = Examples((tmp_path,), sys.executable, tmp_path / "report.md")
    files = examples.bots()
    assert [file.stem for file in files] == ["failing", "good", "lacking"]
    loaded = load_all(examples.python, files)
    assert [one.cause for one in loaded] == [
        "RuntimeError: no key.",
        "",
        "lacks a_service_that_nobody_has",
    ]
    assert write_report(examples, loaded).startswith("1 of 3 example bots load;")
    report = examples.report.read_text()
    assert "| 1 | lacks a_service_that_nobody_has |" in report
    assert [runs_as_python(sys.executable, one.file) for one in loaded] == [False, True, False]
