"""The setting ``cell`` and the table ``[cells]``."""

from pathlib import Path

import pytest

from cordboard.contract.cells import Cell
from cordboard.contract.errors import SettingsError
from cordboard.settings import load

TABLE = """
[cells]
us-1 = "https://us-1.example/gateway/"

[cells.eu-1]
gateway = "https://eu-1.example"
interface = "https://eu-1.example/voice"
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("CORDBOARD_CELL", raising=False)
    return tmp_path / "cordboard.toml"


def test_cells_have_addresses(config: Path) -> None:
    """A cell is the URL of its gateways, or a table with that of its interface too."""
    config.write_text('cell = "eu-1"\n' + TABLE)
    loaded = load(config)
    assert loaded.cell == "eu-1"
    assert loaded.cells == {
        "us-1": Cell("https://us-1.example/gateway"),
        "eu-1": Cell("https://eu-1.example", "https://eu-1.example/voice"),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TABLE, r"no cell is set; the cells are: us-1, eu-1"),
        ('cell = "eu-2"' + TABLE, r"'eu-2' is not in \[cells\]"),
        ('cell = "EU 1"', r"invalid name 'EU 1'"),
        ('cell = "a"\n[cells]\n"a b" = "https://a"', r"\[cells\] a b: invalid name"),
        ('cell = "a"\n[cells.a]\ninterface = "https://a"', r"expected the key gateway"),
        ('cell = "a"\n[cells.a]\ngatevay = "https://a"', r"gatevay: unknown key.*gateway"),
        ('cell = "a"\n[cells]\na = 3', r"\[cells\] a: expected the URL"),
        ('cell = "a"\n[cells.a]\ngateway = 3', r"gateway: expected a URL, got 3"),
        ('cell = "a"\n[cells]\na = "ftp://a"', r"a gateway"),
    ],
)
def test_invalid_cells_are_refused(config: Path, text: str, message: str) -> None:
    """Each mistake is named with its place."""
    config.write_text(text)
    with pytest.raises(SettingsError, match=message):
        load(config)
