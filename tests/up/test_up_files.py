"""The files that `cordboard up` writes."""

from pathlib import Path

from cordboard.up import files
from cordboard.up.files import LogFile


def test_rotation(tmp_path: Path, monkeypatch: object) -> None:
    """A full file is rotated at a whole line; the oldest is deleted, nothing else is lost."""
    files_mb = files._MEGABYTE
    try:
        files._MEGABYTE = 100  # type: ignore[misc]
        log = LogFile(tmp_path / "gateway.jsonl", max_mb=1, kept=2)
        for number in range(40):
            log.write(f"line {number:03d}\n".encode())
        log.close()
    finally:
        files._MEGABYTE = files_mb  # type: ignore[misc]
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["gateway.1.jsonl", "gateway.2.jsonl", "gateway.jsonl"]
    parts = [
        (tmp_path / name).read_text()
        for name in ("gateway.2.jsonl", "gateway.1.jsonl", "gateway.jsonl")
    ]
    assert all(len(part) <= 100 for part in parts)
    lines = "".join(parts).splitlines()
    assert lines == [f"line {number:03d}" for number in range(40 - len(lines), 40)]


def test_goes_on(tmp_path: Path) -> None:
    """What an earlier run wrote stays."""
    for text in (b"one\n", b"two\n"):
        log = LogFile(tmp_path / "up.jsonl", max_mb=1, kept=2)
        log.write(text)
        log.close()
    assert (tmp_path / "up.jsonl").read_text() == "one\ntwo\n"
    assert (tmp_path / "up.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_long_line_is_written_whole(tmp_path: Path) -> None:
    """A line longer than the bound is in one file."""
    log = LogFile(tmp_path / "up.jsonl", max_mb=1, kept=2)
    log.write(b"x" * 2_000_000 + b"\n")
    log.write(b"y\n")
    log.close()
    assert (tmp_path / "up.jsonl").read_bytes() == b"y\n"
