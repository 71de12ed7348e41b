"""A part that misbehaves: what is said of it, and what is done."""

import os
import stat
import sys
from pathlib import Path

import pytest

from cordboard import emit
from cordboard.up import component
from cordboard.up.component import Part
from plane_support import gone_within
from tests_support import until


def part_of(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> tuple[Part, list[bytes]]:
    """A part whose process is a script, and the lines that it prints."""
    file = folder / "part"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(file))
    said: list[bytes] = []
    made = Part("gateway", (), "http://127.0.0.1:1", os.environ, lambda _, line: said.append(line))
    return made, said


async def test_one_that_does_not_stop_is_killed_with_all_it_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """After its grace, and aloud."""
    made, said = part_of(
        monkeypatch, tmp_path, "trap '' TERM; sleep 600 & echo $!; wait; sleep 600"
    )
    with emit.capture() as records:
        await made.start()
        await until(lambda: said)
        await made.stop(0.1)
    assert not made.alive
    assert gone_within(int(said[0]), 5)
    assert [(r["level"], r["message"], r["meta"]["part"]) for r in records] == [
        ("warn", "A part did not stop in time and was killed", "gateway")
    ]


async def test_a_line_without_end_costs_itself_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is dropped and told of; what comes after it is read."""
    monkeypatch.setattr(component, "LINE_MAX_BYTES", 1000)
    made, said = part_of(monkeypatch, tmp_path, "printf '%05000d\\n' 1; echo after")
    with emit.capture() as records:
        await made.start()
        assert await made.ended() == 0
    assert said[-1] == b"after"
    assert {r["message"] for r in records} == {"A line was too long and was dropped"}
