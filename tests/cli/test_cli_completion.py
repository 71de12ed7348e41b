"""`cordboard completion`: what the scripts complete."""

import pytest

from cordboard.cli import main


@pytest.mark.parametrize(
    ("option", "kind"),
    [("call___record", "files"), ("logs___dir", "dirs"), ("up___config", "files")],
)
def test_options_for_files_complete_files(
    capsys: pytest.CaptureFixture[str], option: str, kind: str
) -> None:
    """Of every command: argparse keeps the arguments where Python 3.11 to 3.14 have them."""
    assert main(["completion", "bash"]) == 0
    assert f"_shtab_cordboard_{option}_COMPGEN=_shtab_compgen_{kind}" in capsys.readouterr().out
