"""Valkey's lines in the common format: nothing is repeated, and nothing is lost."""

import json
import time
from typing import Any

import pytest

from cordboard.emit.forwarding import schema_error
from cordboard.up.valkey_log import ValkeyLog


def records_of(*lines: bytes) -> list[dict[str, Any]]:
    written: list[bytes] = []
    convert = ValkeyLog(written.append)
    for line in lines:
        convert(line)
    records = [json.loads(line) for line in written]
    assert [schema_error(record) for record in records] == [None] * len(records)
    return records


@pytest.mark.parametrize(
    ("zone", "stamp"),
    [("UTC", "2026-11-24T11:44:02.784000Z"), ("Asia/Kolkata", "2026-11-24T06:14:02.784000Z")],
)
def test_prefix_becomes_fields(monkeypatch: pytest.MonkeyPatch, zone: str, stamp: str) -> None:
    """Process, role, local time and level are removed from the message."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        (record,) = records_of(b"15007:M 24 Nov 2026 11:44:02.784 # WARNING Memory: low\n")
    finally:
        monkeypatch.undo()
        time.tzset()
    assert record["message"] == "WARNING Memory: low"
    assert (record["timestamp"], record["level"], record["service"]) == (stamp, "warn", "redis")
    assert record["meta"] == {"pid": 15007, "role": "primary"}
    assert "raw" not in record


def test_every_line_is_one_record() -> None:
    """So are lines of its signal handler and of other origin; the sequence has no gap."""
    records = records_of(
        b"7:signal-handler (1795520661) Received SIGTERM scheduling shutdown...\n",
        b"\n",
        b"*** FATAL CONFIG FILE ERROR ***\n",
        b"7:M 24 Nov 2026 11:44:02.784 * Ready to accept connections tcp\n",
    )
    assert [(r["message"], r["level"], r.get("raw", False)) for r in records] == [
        ("Received SIGTERM scheduling shutdown...", "info", False),
        ("*** FATAL CONFIG FILE ERROR ***", "info", True),
        ("Ready to accept connections tcp", "info", False),
    ]
    assert [record["seq"] for record in records] == [1, 2, 3]
    assert len({record["boot"] for record in records}) == 1
