"""Which line goes to which file, and which lines of a component are refused."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cordboard import emit
from cordboard.settings import Settings
from cordboard.up.component_logs import ComponentLogs


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[ComponentLogs]:
    with emit.capture():
        made = ComponentLogs(Settings(log_dir=str(tmp_path)))
        yield made
        made.close()


def line(**over: Any) -> bytes:
    record = {
        "timestamp": "2026-11-23T10:11:12.123456Z",
        "level": "info",
        "message": "sent",
        "service": "gateway",
        "tag": "t",
        "sessionId": "s-1",
        "userId": None,
        "userName": None,
        "boot": "9f31c2aa",
        "seq": 1,
    }
    return json.dumps(record | over, separators=(",", ":")).encode()


def in_file(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


def test_lines_go_to_the_file_of_their_writer(logs: ComponentLogs, tmp_path: Path) -> None:
    """Lines of bots go to the file of their runner; those of browsers to their own."""
    logs.write_component_line("interface", line(service="interface"))
    logs.write_component_line("interface", line(service="browser"))
    logs.write_component_line("runner", line(service="bot"))
    logs.write_component_line("runner", line(service="a-name-of-the-bots"))
    logs.write_component_line("operator", line(service="runner"))  # a cold one, which it started
    found = {
        name: [record["service"] for record in in_file(tmp_path, name)]
        for name in ("interface", "browser", "runner", "operator")
    }
    assert found == {
        "interface": ["interface"],
        "browser": ["browser"],
        "runner": ["bot", "a-name-of-the-bots"],
        "operator": ["runner"],
    }


@pytest.mark.parametrize(
    ("component", "service"),
    [("runner", "gateway"), ("runner", "up"), ("interface", "runner"), ("gateway", "browser")],
)
def test_no_component_writes_as_another(
    logs: ComponentLogs, tmp_path: Path, component: str, service: str
) -> None:
    """Such a line becomes a raw line of the component, with its claims in meta."""
    logs.write_component_line(component, line(service=service))
    (record,) = in_file(tmp_path, component)
    assert (record["service"], record["raw"]) == (component, True)
    assert record["meta"]["claimed"]["service"] == service
    assert record["sessionId"] != "s-1"
