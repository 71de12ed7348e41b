"""Which commands let no other process of their user look into them."""

import argparse
from types import SimpleNamespace

import pytest

from cordboard import cli

READERS = ("logs", "why", "completion")  # they read files, and hold no secret


@pytest.mark.parametrize("command", list(cli.COMMANDS))
@pytest.mark.parametrize("allowed", [False, True])
def test_commands_with_secrets_disable_inspection(
    monkeypatch: pytest.MonkeyPatch, command: str, allowed: bool
) -> None:
    """It refuses to be inspected before it runs, unless CORDBOARD_DUMPABLE=1 allows it."""
    steps: list[str] = []

    def run(_: argparse.Namespace) -> int:
        steps.append("run")
        return 0

    stub = SimpleNamespace(add_arguments=lambda parser: None, run=run)
    monkeypatch.setattr(cli, "load", lambda name: stub)
    monkeypatch.setattr("cordboard.processes.disable_inspection", lambda: steps.append("refuse"))
    monkeypatch.setenv("CORDBOARD_DUMPABLE", "1" if allowed else "0")
    assert cli.main([command]) == 0
    assert steps == (["run"] if allowed or command in READERS else ["refuse", "run"])
