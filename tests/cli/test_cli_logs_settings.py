"""The settings of `cordboard logs`: the short way gives the same as the long one."""

from pathlib import Path

import pytest

from cordboard.cli import _logs_settings
from cordboard.contract.errors import SettingsError
from cordboard.settings import load


@pytest.fixture(autouse=True)
def _empty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("CORDBOARD_LOG_DIR", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("log_dir", [None, "", "elsewhere"])
@pytest.mark.parametrize("queue_max", [None, "5"])
def test_log_folder_is_that_of_the_settings(
    monkeypatch: pytest.MonkeyPatch, log_dir: str | None, queue_max: str | None
) -> None:
    """Whether there is a variable to check or not."""
    for name, value in (("LOG_DIR", log_dir), ("QUEUE_MAX", queue_max)):
        if value is not None:
            monkeypatch.setenv(f"CORDBOARD_{name}", value)
    assert _logs_settings.load_log_settings(None).log_folder == load().log_folder


def test_tables_are_those_of_the_file(tmp_path: Path) -> None:
    """The environments, and the formats of foreign lines."""
    file = tmp_path / "cordboard.toml"
    file.write_text("[environments]\na = []\n[logs]\nb = 1\n")
    loaded = _logs_settings.load_log_settings(None)
    assert (loaded.environments, loaded.formats, loaded.config_file) == ({"a": []}, {"b": 1}, file)


@pytest.mark.parametrize("name", ["CORDBOARD_LOGDIR", "CORDBOARD_QUEUE_MAX"])
def test_invalid_variable_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """An unknown name, or a value of the wrong type, even if no query uses the setting."""
    monkeypatch.setenv(name, "x")
    with pytest.raises(SettingsError, match=name):
        _logs_settings.load_log_settings(None)
