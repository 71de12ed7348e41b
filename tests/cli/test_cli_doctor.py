"""`cordboard doctor`."""

from pathlib import Path

import pytest

from cordboard.cli import main


def test_a_configuration_that_cannot_be_read_is_told_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What else could not be checked because of it does not repeat it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    file = tmp_path / "cordboard.toml"
    file.write_text('gatewy_url = "x"\n')
    assert main(["doctor", "--config", str(file)]) == 1
    said = capfd.readouterr().out
    assert said.count("FAIL") == said.count("Did you mean gateway_url?") == 1
    assert "FAIL  configuration" in said


@pytest.mark.parametrize(
    ("directory", "said"),
    [
        ("/proc/nope/logs", "FAIL  log directory  /proc/nope/logs cannot be written: No such file"),
        ("new/logs", "ok    log directory"),
    ],
)
def test_the_log_directory_is_tried(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    directory: str,
    said: str,
) -> None:
    """Where nothing can be made is found out, not guessed; and nothing is left of the trial."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("CORDBOARD_LOG_DIR", str(tmp_path / directory))
    main(["doctor"])
    assert said in capfd.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("compiled", "said"),
    [
        (True, "ok    reading logs   with the parts that are in C"),
        (
            False,
            "ok    reading logs   in Python alone, up to four times slower: with a C compiler and",
        ),
    ],
)
def test_whether_the_parts_in_c_are_there(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    compiled: bool,
    said: str,
) -> None:
    """It is told, with the way to get them."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr("cordboard.logs.compiled.lines", compiled)
    monkeypatch.setattr("cordboard.logs.compiled.search", True)
    main(["doctor"])
    assert said in capfd.readouterr().out


def test_a_directory_is_no_bot_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said what it is, not that it is not there."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert main(["doctor", "--bot", str(tmp_path)]) == 1
    assert f"Bot file {tmp_path}: this is a directory." in capfd.readouterr().out
