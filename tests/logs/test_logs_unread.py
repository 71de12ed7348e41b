"""Files that are no plain text: read where that is possible, else named."""

import os
from datetime import datetime
from pathlib import Path

import pytest

from logs.logs_support import ask, at, encoded, reasons, record, write_lines

LINES = [encoded(record(n, seq=n + 1, message="gr\u00fc\u00dfe \U0001f44b")) for n in range(3000)]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_is_read(tmp_path: Path, encoding: str) -> None:
    """Programs on Windows write logs in UTF-16, with a byte order mark."""
    text = "\ufeff" + "".join(f"{line.decode()}\r\n" for line in LINES)
    (tmp_path / "app.log").write_bytes(text.encode(encoding))
    answer = ask(tmp_path)
    assert answer.raws == LINES
    assert answer.coverage.complete


def test_utf16_that_is_cut_is_named(tmp_path: Path) -> None:
    """The lines before the end are read."""
    text = "\ufeff" + "".join(f"{line.decode()}\n" for line in LINES)
    (tmp_path / "app.log").write_bytes(text.encode("utf-16-le")[:-1])
    answer = ask(tmp_path)
    assert len(answer.raws) == len(LINES)
    assert reasons(answer) == {"unreadable"}


@pytest.mark.parametrize(
    ("name", "is_log"),
    [
        ("web.log.1.lz4", True),
        ("web.log.zip", True),
        ("logs.zip", True),
        ("web-logs.2026-11-23.7z", True),
        ("web.log", True),
        ("web.jsonl.1", True),
        ("events.ndjson.br", True),
        ("picture.png", False),
        ("catalog.zip", False),
        ("login.png", False),
        ("web.logo", False),
        ("lastlog", False),
        ("data.tar", False),
        ("web.log.old", True),
        ("web.log.2026-11-23T10.zip", True),
        ("web.log-20261123.lz4", True),
        ("0.log", True),
        ("gateway.jsonl.idx", False),
        ("web.log.db", False),
        ("web.log.pos", False),
        ("000003.log", False),
    ],
)
def test_a_log_that_cannot_be_read_is_named(tmp_path: Path, name: str, is_log: bool) -> None:
    """An answer without it is not complete; other files are nobody's concern."""
    write_lines(tmp_path / "voice.jsonl", LINES)
    (tmp_path / name).write_bytes(b"PK\x03\x04\x14\x00\x08\x00\x01\x02\x03\x00" * 50)
    answer = ask(tmp_path)
    assert answer.raws == LINES
    assert answer.coverage.complete is not is_log
    assert reasons(answer) == ({"unreadable"} if is_log else set())


@pytest.mark.parametrize(("hours", "is_complete"), [(2, True), (0.5, False), (-1, False)])
def test_an_old_log_that_cannot_be_read_is_only_noted(
    tmp_path: Path, hours: float, is_complete: bool
) -> None:
    """What was last written an hour before the window has none of its lines."""
    write_lines(tmp_path / "voice.jsonl", LINES)
    path = tmp_path / "old-logs.zip"
    path.write_bytes(b"PK\x03\x04\x14\x00\x08\x00\x01\x02\x03\x00" * 50)
    written = datetime.fromisoformat(at(1000)).timestamp() - hours * 3600
    os.utime(path, (written, written))
    answer = ask(tmp_path, since=at(1000))
    assert answer.raws == LINES[1000:]
    assert answer.coverage.complete is is_complete
    noted = f"{path}: skipped, last written before the window."
    assert (noted in answer.coverage.notes) is is_complete
    assert reasons(ask(tmp_path)) == {"unreadable"}
    assert reasons(ask(tmp_path, since=at(1000), exact=True)) == {"unreadable"}
