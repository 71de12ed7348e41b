"""Copies of whole files: their plain lines are printed once."""

from pathlib import Path

import pytest

from logs.logs_support import ask, write_lines

LINES = [f"2026-11-23T10:00:{n % 60:02}Z WARN pool exhausted {n}".encode() for n in range(60)]


@pytest.mark.parametrize("count", [2, 60, 600])
def test_a_copied_file_has_copies(tmp_path: Path, count: int) -> None:
    """A backup beside a file is known by its size and its ends, whatever its name is."""
    lines = (LINES * 10)[:count]
    for name in ("app.log", "app-copy.log", "backup.log"):
        write_lines(tmp_path / name, lines)
    answer = ask(tmp_path)
    assert sorted(answer.raws) == sorted(lines)
    assert answer.coverage.counts == {"duplicate": 2 * count}


def test_a_copy_of_a_rotated_file_has_copies(tmp_path: Path) -> None:
    """The file, those that it was rotated to, and copies of any of them are of one origin."""
    write_lines(tmp_path / "app.log", LINES[30:])
    write_lines(tmp_path / "app.log.1", LINES[:31])
    write_lines(tmp_path / "a-copy.log", LINES[:31])
    answer = ask(tmp_path)
    assert answer.raws == LINES


@pytest.mark.parametrize(
    "other", [LINES[1:3], [LINES[0], LINES[1], LINES[2]], [LINES[3], LINES[1]]]
)
def test_files_that_share_a_line_have_no_copies(tmp_path: Path, other: list[bytes]) -> None:
    """Two services may say the same at the same time."""
    write_lines(tmp_path / "voice.log", LINES[:2])
    write_lines(tmp_path / "web.log", other)
    answer = ask(tmp_path)
    assert sorted(answer.raws) == sorted([*LINES[:2], *other])
    assert answer.coverage.counts == {}


def test_files_of_one_equal_line_or_in_two_folders_have_no_copies(tmp_path: Path) -> None:
    """Two processes may end with the same words; two pods have folders of their own."""
    write_lines(tmp_path / "voice.log", LINES[:1])
    write_lines(tmp_path / "web.log", LINES[:1])
    for pod in ("pod-1", "pod-2"):
        write_lines(tmp_path / pod / "0.log", LINES[1:3])
    answer = ask(tmp_path)
    assert answer.raws == sorted([*LINES[:1], *LINES[:3], *LINES[1:3]])
    assert answer.coverage.counts == {}
