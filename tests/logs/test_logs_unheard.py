"""An answer without lines says whether it is one: names that nobody bears, windows without logs."""

import os
from pathlib import Path
from typing import Any

import pytest

from cordboard.contract.errors import NotFoundError
from cordboard.logs import unheard
from cordboard.logs.blocks import BLOCK_BYTES
from logs.logs_support import (
    Answered,
    ask,
    at,
    cri_in_pieces,
    encoded,
    kubectl,
    record,
    write_lines,
)

NO_SOURCE = "none of the lines read is from this service"


def logs(folder: Path, service: str = "gateway", first: int = 1, **more: Any) -> None:
    """A log of nine lines, one a second from the tenth on, in a file of its service's name."""
    lines = [
        encoded(record(10 + n, seq=n, service=service, **more)) for n in range(first, first + 9)
    ]
    write_lines(folder / f"{service}.jsonl", lines)


def texts(*moments: int) -> list[bytes]:
    """Lines without numbers."""
    return [f"{at(moment)[:19].replace('T', ' ')} INFO Something".encode() for moment in moments]


# --- names


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("gatway", f"{NO_SOURCE}; did you mean gateway?"),
        ("Gateway", f"{NO_SOURCE}; did you mean gateway?"),
        ("operater", f"{NO_SOURCE}; did you mean operator?"),
        ("xyz", f"{NO_SOURCE}; services found: gateway"),
        ("runner", f"{NO_SOURCE}; services found: gateway"),
        ("bot", f"{NO_SOURCE}; services found: gateway"),
    ],
)
@pytest.mark.parametrize("more", [{}, {"level": "info"}, {"since": at(12)}, {"session": "call-7"}])
def test_a_service_that_nobody_knows(
    tmp_path: Path, asked: str, words: str, more: dict[str, Any]
) -> None:
    """A service of which no line was read is named as missing, with the name that was meant."""
    logs(tmp_path, session="call-7")
    assert (asked, "no_source", words) in ask(tmp_path, services=(asked,), **more).shortfalls


def test_nothing_to_choose_from(tmp_path: Path) -> None:
    """Where there is no name at all, none is suggested."""
    write_lines(tmp_path / ".hidden", texts(1))
    (tmp_path / "x").mkdir()
    assert ("billing", "no_source", NO_SOURCE) in ask(tmp_path, services=("billing",)).shortfalls


@pytest.mark.parametrize("name", ["bot", "billing"])
@pytest.mark.parametrize(
    "line",
    [
        lambda name: encoded(record(11, seq=2, boot="bbbbbbbb", service=name)),
        lambda name: kubectl(encoded(record(11, seq=2, boot="bbbbbbbb", service=name)), 11)[0],
        lambda name: f'{{"time":"{at(11)}","service.name":"{name}","msg":"x"}}'.encode(),
    ],
)
def test_a_service_that_is_known(tmp_path: Path, name: str, line: Any) -> None:
    """One that merely said nothing of what was asked for is no reason to call an answer incomplete."""
    logs(tmp_path)
    lines = (tmp_path / "gateway.jsonl").read_bytes().splitlines()
    write_lines(tmp_path / "gateway.jsonl", [lines[0], line(name), *lines[1:]])
    asked: tuple[dict[str, Any], ...] = (
        {"level": "error"},
        {"since": at(15)},
        {"until": at(10.5), "since": at(10)},
        {"user": "u"},
    )
    for more in asked:
        found = ask(tmp_path, services=(name,), **more)
        assert (found.lines, [s for s in found.shortfalls if s[0] == name]) == ([], [])


def test_a_name_in_another_place(tmp_path: Path) -> None:
    """A text that equals the name, but is no service, makes none of it."""
    logs(tmp_path, session="billing", message="billing", meta={"to": "billing"})
    found = ask(tmp_path, services=("billing",), level="error")
    assert [(who, why) for who, why, _ in found.shortfalls] == [("billing", "no_source")]


def test_a_host_speaks_for_its_children(tmp_path: Path) -> None:
    """A bot's lines are in its runner's log: where that was read, a silent bot is no shortfall."""
    logs(tmp_path, "runner")
    assert ask(tmp_path, services=("bot",)).coverage.complete
    assert ask(tmp_path, services=("bot", "runner")).coverage.complete


def test_much_is_not_searched_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a bound both ends of a log are looked at; a name there is known, whatever the size."""
    monkeypatch.setattr(unheard, "_LOOK_BYTES", 1000)
    monkeypatch.setattr(unheard, "_ENDS_BYTES", 3000)
    lines = [encoded(record(n, seq=n, message="x" * 500)) for n in range(1, 200)]
    for place, known in ((3, True), (100, False), (-3, True)):
        other = encoded(record(50, boot="cccccccc", service="billing"))
        write_lines(tmp_path / "a.jsonl", [*lines[:place], other, *lines[place:]])
        answer = ask(tmp_path, services=("billing",), since=at(60), until=at(70))
        assert answer.coverage.complete == known
    assert (tmp_path / "a.jsonl").stat().st_size < BLOCK_BYTES


def test_a_user_and_a_room_that_nobody_knows(tmp_path: Path) -> None:
    """Nobody's user and room are told of; those who are known, but not in these lines, are not."""
    logs(tmp_path, userId="u-1", userName="Ada", room="webrtc:demo")
    expected: tuple[tuple[dict[str, Any], tuple[str, ...]], ...] = (
        ({"user": "u-2"}, ("None of the lines read belongs to user u-2.",)),
        ({"user": "u-2", "level": "warn"}, ("None of the lines read belongs to user u-2.",)),
        ({"room": "webrtc:x"}, ("None of the lines read belongs to room webrtc:x.",)),
        ({"user": "Ada", "level": "warn"}, ()),
        ({"room": "webrtc:demo", "services": ("gateway",), "level": "error"}, ()),
        (
            {"user": "u-1", "room": "webrtc:x"},
            ("None of the lines read belongs to room webrtc:x.",),
        ),
    )
    for asked, words in expected:
        answer = ask(tmp_path, **asked)
        assert (answer.lines, answer.coverage.notes) == ([], words)
        assert answer.coverage.complete


# --- windows


def reasons(answer: Answered) -> list[tuple[str, str]]:
    return [(who, why) for who, why, _ in answer.shortfalls]


def test_a_window_before_all_logs(tmp_path: Path) -> None:
    """Nothing is kept of such a window, and the first time there is is told."""
    logs(tmp_path)
    logs(tmp_path, "runner", first=5)
    write_lines(tmp_path / "redis.log", texts(12))
    for since in (at(1), None):
        answer = ask(tmp_path, since=since, until=at(5))
        assert answer.lines == []
        assert sorted(answer.shortfalls) == [
            ("gateway", "starts_after_window", f"first line at {at(11)}"),
            ("redis", "starts_after_window", f"first line at {at(12)}"),
            ("runner", "rotated", f"first line at {at(15)}, seq 5 of boot aaaaaaaa"),
        ]
    assert reasons(ask(tmp_path, until=at(5), services=("bot",))) == [("runner", "rotated")]
    found = reasons(ask(tmp_path, until=at(5), session="call-7"))
    assert ("session call-7", "silent") in found
    assert ("gateway", "starts_after_window") in found


def test_a_process_that_began_within_the_window(tmp_path: Path) -> None:
    """A first line with the number 1 proves that there was none before it."""
    logs(tmp_path)
    assert ask(tmp_path, since=at(0)).coverage.complete
    logs(tmp_path, "runner", first=2)
    assert reasons(ask(tmp_path, since=at(0))) == [("runner", "rotated")]
    assert ask(tmp_path, since=at(0), services=("gateway",)).coverage.complete
    assert ask(tmp_path).coverage.complete


def test_a_beginning_that_is_a_little_out_of_order(tmp_path: Path) -> None:
    """Lines written side by side, a banner before them, or pieces, are no sign of rotation."""
    lines = [encoded(record(10 + n, seq=n)) for n in (2, 3, 1, 4)]
    write_lines(tmp_path / "gateway.1.jsonl", lines)
    write_lines(tmp_path / "gateway.jsonl", [encoded(record(20, seq=5))])
    assert ask(tmp_path, since=at(0)).coverage.complete
    write_lines(tmp_path / "gateway.1.jsonl", [*texts(10), *sorted(lines)])
    assert ask(tmp_path, since=at(0)).coverage.complete
    pieces = [piece for line in sorted(lines) for piece in cri_in_pieces(line, 11)]
    write_lines(tmp_path / "gateway.1.jsonl", pieces)
    assert ask(tmp_path, since=at(0)).coverage.complete


def test_a_log_without_numbers_that_is_rotated(tmp_path: Path) -> None:
    """One that was rotated may have lost what was before; one that never was, begins as it began."""
    write_lines(tmp_path / "app.log", texts(20, 21))
    assert ask(tmp_path, since=at(10)).coverage.complete
    write_lines(tmp_path / "app.log.1", texts(12, 15))
    expected = [("app", "starts_after_window", f"first line at {at(12)}")]
    assert ask(tmp_path, since=at(10)).shortfalls == expected
    assert ask(tmp_path, since=at(13)).coverage.complete
    assert ask(tmp_path).coverage.complete


def test_a_window_behind_all_logs(tmp_path: Path) -> None:
    """Who has been silent since is missed by nobody; when the last line was said is told."""
    logs(tmp_path)
    answer = ask(tmp_path, since=at(30), until=at(40))
    assert answer.coverage.complete
    assert answer.coverage.notes == (f"The newest line is from {at(19)}, before the window.",)
    assert ask(tmp_path, since=at(12), level="error").coverage.notes == ()
    logs(tmp_path, "runner")
    write_lines(tmp_path / "gateway.1.jsonl.gz", texts(1))
    assert ask(tmp_path, since=at(30)).coverage.notes == ()
    os.utime(tmp_path / "gateway.1.jsonl.gz", (0, 0))
    assert any("newest line" in note for note in ask(tmp_path, since=at(30)).coverage.notes)


def test_a_folder_without_files(tmp_path: Path) -> None:
    """Where there is no file, nothing can be read: that is no complete answer."""
    assert ask(tmp_path).shortfalls == [
        (str(tmp_path), "no_source", "the directory contains no files")
    ]
    write_lines(tmp_path / ".hidden.jsonl", texts(1))
    assert not ask(tmp_path).coverage.complete
    (tmp_path / "empty.jsonl").touch()
    assert ask(tmp_path).coverage.complete
    with pytest.raises(NotFoundError):
        ask(tmp_path / "no")
