"""Whose lines go into which file, and which lines of a part are not believed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cordboard import emit
from cordboard.settings import Settings
from cordboard.up.component_logs import Lines


@pytest.fixture
def lines(tmp_path: Path) -> Iterator[Lines]:
    with emit.capture():
        made = Lines(Settings(log_dir=str(tmp_path)))
        yield made
        made.close()


def line(**over: Any) -> bytes:
    record = {
        "timestamp": "2026-11-23T10:11:12.123456Z",
        "level": "info",
        "message": "said",
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
    return [json.loads(said) for said in (folder / f"{name}.jsonl").read_text().splitlines()]


def test_each_in_its_own_file(lines: Lines, tmp_path: Path) -> None:
    """Lines of bots are in their runner's; those of browsers, whom nobody knows, are in their own."""
    lines.speak("interface", line(service="interface"))
    lines.speak("interface", line(service="browser"))
    lines.speak("runner", line(service="bot"))
    lines.speak("runner", line(service="a-name-of-the-bots"))
    lines.speak("operator", line(service="runner"))  # a cold one, which it started
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
    ("part", "service"),
    [("runner", "gateway"), ("runner", "up"), ("interface", "runner"), ("gateway", "browser")],
)
def test_no_part_speaks_as_another(lines: Lines, tmp_path: Path, part: str, service: str) -> None:
    """Such a line is kept as what a part printed, with what it claims to be."""
    lines.speak(part, line(service=service))
    (record,) = in_file(tmp_path, part)
    assert (record["service"], record["raw"]) == (part, True)
    assert record["meta"]["claimed"]["service"] == service
    assert record["sessionId"] != "s-1"
