"""Lines of the same process around each line of an answer."""

import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cordboard.cli import main
from cordboard.contract.errors import UsageError
from cordboard.logs import around
from cordboard.logs.around import with_context
from cordboard.logs.line import Line
from cordboard.logs.query import Query
from cordboard.logs.reader import Reader
from cordboard.logs.sources.directory import Directory
from logs.logs_support import at, encoded, record, write_lines

Captured = pytest.CaptureFixture[str]


def asked(folder: Path, lines: int, **wanted: Any) -> list[Line]:
    """Ask as the command does."""

    def opened(query: Query) -> Reader:
        return Reader(query, [Directory(folder)])

    return list(with_context(opened(Query(**wanted)), opened, lines))


def marks(lines: Sequence[Line]) -> list[tuple[str, int, bool]]:
    return [(line.record["boot"], line.record["seq"], line.context) for line in lines]


def by_hand(records: Sequence[dict[str, Any]], lines: int) -> list[tuple[str, int, bool]]:
    """The same, found by looking at every pair of lines."""
    hits = [(item["boot"], item["seq"]) for item in records if item["level"] == "error"]
    ordered = sorted(records, key=lambda item: str(item["timestamp"]))
    return [
        (item["boot"], item["seq"], item["level"] != "error")
        for item in ordered
        if any(item["boot"] == boot and abs(item["seq"] - seq) <= lines for boot, seq in hits)
    ]


@pytest.mark.parametrize("seed", range(4))
def test_each_hit_has_its_neighbours(tmp_path: Path, seed: int) -> None:
    """Those of its process, in time order, each once, whatever other processes said meanwhile."""
    choose = random.Random(seed)
    records = []
    for number, boot in enumerate(("aaaaaaaa", "bbbbbbbb", "cccccccc")):
        moments = sorted(choose.sample(range(number, 3000, 3), 200))
        for seq, moment in enumerate(moments, start=1):
            level = "error" if choose.random() < 0.04 else "info"
            records.append(record(moment / 10, boot=boot, seq=seq, level=level))
        own = [encoded(item) for item in records if item["boot"] == boot]
        write_lines(tmp_path / f"{boot}.jsonl", own)
    for lines in (1, 3):
        assert marks(asked(tmp_path, lines, level="error")) == by_hand(records, lines)


def test_a_session_has_the_lines_of_others_around_it(tmp_path: Path) -> None:
    """The neighbours are those of the process, whatever session they name."""
    lines = [
        record(n, seq=n, session="call-7" if n in {20, 22} else "call-8") for n in range(1, 41)
    ]
    write_lines(tmp_path / "gateway.jsonl", [encoded(line) for line in lines])
    found = asked(tmp_path, 2, session="call-7")
    assert marks(found) == [("aaaaaaaa", n, n not in {20, 22}) for n in range(18, 25)]


def test_neighbours_outside_of_the_window_are_shown(tmp_path: Path) -> None:
    """A window says which lines are hits; what stood before the first one explains it."""
    lines = [record(n, seq=n, level="error" if n == 20 else "info") for n in range(1, 41)]
    write_lines(tmp_path / "gateway.jsonl", [encoded(line) for line in lines])
    found = asked(tmp_path, 3, level="error", since=at(20), until=at(21))
    assert [line.record["seq"] for line in found] == list(range(17, 24))


@pytest.mark.parametrize("waiting_max", [50_000, 5])
def test_lines_without_numbers_have_those_of_their_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waiting_max: int
) -> None:
    """Other loggers' lines are neighbours by where they stand; another file's are not."""
    monkeypatch.setattr(around, "_WAITING_MAX", waiting_max)
    for name in ("app.log", "other.log"):
        words = [f"{at(n)[:-1]}+00:00 INFO {name} line {n}".encode() for n in range(40)]
        write_lines(tmp_path / name, words)

    found = asked(tmp_path, 2, grep=re.compile(r"app.log line (20|23)$"))
    said = [(line.record["message"][-2:], line.context) for line in found]
    numbers = range(18, 26)
    assert said == [(str(n), n not in {20, 23}) for n in numbers]
    assert {Path(line.source).name for line in found} == {"app.log"}


def test_nothing_found_has_no_neighbours(tmp_path: Path) -> None:
    """Where no line is wanted, nothing more is read."""
    write_lines(tmp_path / "gateway.jsonl", [encoded(record(1))])
    assert asked(tmp_path, 3, level="error") == []


def test_too_many_hits_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their places are kept in memory, which has a bound."""
    monkeypatch.setattr(around, "HITS_MAX", 5)
    lines = [encoded(record(n, seq=n, level="error")) for n in range(1, 10)]
    write_lines(tmp_path / "gateway.jsonl", lines)
    with pytest.raises(UsageError, match="expected at most 5 matching lines"):
        asked(tmp_path, 1, level="error")


# --- the command


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Three calls, the second one with an error."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    lines = [
        record(n, seq=n, session=f"call-{n // 10}", level="error" if n == 15 else "info")
        for n in range(1, 31)
    ]
    write_lines(tmp_path / "logs" / "gateway.jsonl", [encoded(line) for line in lines])
    return str(tmp_path / "logs")


def test_json_marks_context(folder: str, capsys: Captured) -> None:
    """A line that only stands beside a hit says so; the coverage counts hits alone."""
    assert main(["logs", "--dir", folder, "--level", "error", "-C", "1"]) == 0
    said = capsys.readouterr()
    found = [json.loads(line) for line in said.out.splitlines()]
    assert [(line["seq"], line.get("context", False)) for line in found] == [
        (14, True),
        (15, False),
        (16, True),
    ]
    assert "complete, 1 line" in said.err


def test_text_marks_context(folder: str, capsys: Captured) -> None:
    """So does the form for people; the raw one has lines alone."""
    main(["logs", "--dir", folder, "--level", "error", "--context", "1", "-o", "pretty", "-q"])
    assert [line.endswith("(context)") for line in capsys.readouterr().out.splitlines()[1:]] == [
        True,
        False,
        True,
    ]
    main(["logs", "--dir", folder, "--level", "error", "--context", "1", "-o", "raw", "-q"])
    assert "context" not in capsys.readouterr().out


def test_brief_is_one_object(folder: str, capsys: Captured) -> None:
    """A session's brief goes to stdout, the coverage to stderr."""
    status = main(["logs", "--dir", folder, "--session", "call-1", "-o", "brief"])
    said = capsys.readouterr()
    value = json.loads(said.out)
    assert value["session"] == "call-1"
    assert value["logs"] == f"cordboard logs --dir {folder} --session call-1"
    assert value["complete"] is (status == 0)
    assert said.err.startswith("coverage: ")


def test_against_compares_two_sessions(folder: str, capsys: Captured) -> None:
    """As JSON in a pipe, as text where that is asked for."""
    words = ["logs", "--dir", folder, "--session", "call-1", "--against", "call-2", "-q"]
    main(words)
    value = json.loads(capsys.readouterr().out)
    assert value["first"]["kind"] == "error"
    main([*words, "-o", "pretty"])
    assert "FIRST DIFFERENCE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("-C", "0", "--level", "warn"), "--context 0: expected a number from 1 to 1000."),
        (("-C", "x", "--level", "warn"), "--context x: expected a number."),
        (("-C", "1"), "--context needs a filter"),
        (("-C", "1", "--level", "warn", "-f"), "--context cannot be combined with -f."),
        (("-C", "1", "--session", "call-1", "--fix-skew"), "cannot be combined with --fix-skew"),
        (("-o", "brief", "-C", "1"), "-o brief cannot be combined with --context."),
        (("-o", "brief", "--report", "a.html"), "-o brief cannot be combined with --report."),
        (("-o", "brief", "--max-bytes", "9"), "expected a number from 4096"),
        (("--max-bytes", "9000"), "--max-bytes needs -o brief."),
        (("--against", "call-2"), "--against needs --session ID."),
        (("--session", "call-1", "--against", "call-1"), "expected another session"),
        (("--session", "call-1", "--against", "call-2", "-o", "raw"), "cannot be combined with -o raw"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused(
    folder: str, words: tuple[str, ...], error: str, capsys: Captured
) -> None:
    """With what to do, and before anything is printed."""
    assert main(["logs", "--dir", folder, *words]) == 2
    said = capsys.readouterr()
    assert error in said.err
    assert said.out == ""
