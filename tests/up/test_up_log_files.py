"""The files that `cordboard up` writes."""

import resource
from pathlib import Path

import pytest

from cordboard.up.log_files import LogFile

MEGABYTE = 1_048_576


def test_full_file_is_rotated_at_a_whole_line(tmp_path: Path) -> None:
    """The oldest file is deleted, and no other line is lost."""
    log = LogFile(tmp_path / "gateway.jsonl", max_bytes=100, kept=2)
    for number in range(40):
        log.write(f"line {number:03d}\n".encode())
    log.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["gateway.1.jsonl", "gateway.2.jsonl", "gateway.jsonl"]
    parts = [
        (tmp_path / name).read_text()
        for name in ("gateway.2.jsonl", "gateway.1.jsonl", "gateway.jsonl")
    ]
    assert all(len(part) <= 100 for part in parts)
    lines = "".join(parts).splitlines()
    assert lines == [f"line {number:03d}" for number in range(40 - len(lines), 40)]


def test_existing_file_is_continued(tmp_path: Path) -> None:
    """The lines of an earlier run stay, and the file is private."""
    for text in (b"one\n", b"two\n"):
        log = LogFile(tmp_path / "up.jsonl", max_bytes=MEGABYTE, kept=2)
        log.write(text)
        log.close()
    assert (tmp_path / "up.jsonl").read_text() == "one\ntwo\n"
    assert (tmp_path / "up.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_long_line_is_written_whole(tmp_path: Path) -> None:
    """A line longer than the bound is in one file."""
    log = LogFile(tmp_path / "up.jsonl", max_bytes=MEGABYTE, kept=2)
    log.write(b"x" * 2_000_000 + b"\n")
    log.write(b"y\n")
    log.close()
    assert (tmp_path / "up.jsonl").read_bytes() == b"y\n"


def test_full_disk_leaves_no_partial_line(tmp_path: Path) -> None:
    """A line that does not fit raises an error and is not written; the next one is whole."""
    log = LogFile(tmp_path / "up.jsonl", max_bytes=MEGABYTE, kept=2)
    log.write(b"one\n")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(OSError, match="No space left"):
            log.write(b"x" * 50 + b"\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    log.write(b"two\n")
    log.close()
    assert (tmp_path / "up.jsonl").read_text() == "one\ntwo\n"


def test_a_rotation_that_fails_keeps_the_file(tmp_path: Path) -> None:
    """If the full file cannot be renamed, it is written further."""
    log = LogFile(tmp_path / "up.jsonl", max_bytes=MEGABYTE, kept=1)
    (tmp_path / "up.1.jsonl").mkdir()
    log.write(b"x" * 1_048_576)
    with pytest.raises(OSError, match="directory"):
        log.write(b"more\n")
    (tmp_path / "up.1.jsonl").rmdir()
    log.write(b"again\n")
    log.close()
    assert (tmp_path / "up.jsonl").read_bytes() == b"again\n"
    assert (tmp_path / "up.1.jsonl").stat().st_size == 1_048_576
