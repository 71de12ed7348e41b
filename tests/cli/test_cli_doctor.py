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
