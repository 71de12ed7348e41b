"""Logs as other programs leave them: without times, torn, named oddly, with keys of other types."""

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordboard.contract.record import KEYS
from cordboard.logs import stream
from cordboard.logs.blocks import FileByteReader
from cordboard.logs.formats import continuation, wrappers
from cordboard.logs.formats.packed import PackedByteReader
from logs.logs_support import ask, at, bare, cri, docker, encoded, record, write_lines

COMMAND = (sys.executable, "-m", "cordboard")
PATIENCE_S = 60.0  # a query of some hundred lines that takes so long never ends
LINES = 1500


def cordboard(*words: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command to its end."""
    return subprocess.run([*COMMAND, *words], capture_output=True, check=False, timeout=PATIENCE_S)


# --- texts that name nothing


@pytest.mark.parametrize("key", ["traceId", "boot", "userId", "spanId", "room", "event"])
@pytest.mark.parametrize("empty", ["", None])
def test_an_empty_text_names_nothing(tmp_path: Path, key: str, empty: Any) -> None:
    """A query ends, and finds the line, where a line of the session has an empty text under any key."""
    named = {"time": at(1), "msg": "joined", "session_id": "call-7", "service": "bot", key: empty}
    other = {"time": at(2), "msg": "other", "service": "bot", key: empty}
    own = record(3, session="call-7", service="bot", message="own", seq=2, **{key: empty})
    stranger = record(4, session="call-8", service="bot", message="stranger", **{key: empty})
    write_lines(tmp_path / "a.log", [encoded(line) for line in (named, other, own, stranger)])
    found = cordboard("logs", "--dir", str(tmp_path), "--session", "call-7", "-o", "json", "-q")
    said = [json.loads(line)["message"] for line in found.stdout.splitlines()]
    assert said == ["joined", "own"]


# --- numbers that no clock and no logger writes

LONG = "1" * 5000
HUGE = 10**400


@pytest.mark.parametrize(
    "line",
    [
        f'{{"timestamp":{HUGE},"message":"x"}}',
        f'{{"timestamp":"{LONG}","message":"x"}}',
        f'{{"timestamp":"{LONG}.5","message":"x"}}',
        f'{{"__REALTIME_TIMESTAMP":"{LONG}","MESSAGE":"x"}}',
        f'{{"message":"{{\\"a\\":1}}","time":{HUGE}}}',
        f'{{"timestamp":"{at(1)}","level":"{LONG}","message":"x"}}',
        f'{{"timestamp":"{at(1)}","PRIORITY":"{LONG}","message":"x"}}',
    ],
)
def test_number_beyond_all_bounds_ends_no_query(tmp_path: Path, line: str) -> None:
    """A time or level that no machine can compute with is none; the other lines are read."""
    own = [encoded(record(n, seq=n, session="call-7")) for n in (1, 2)]
    write_lines(tmp_path / "a.log", [own[0], line.encode(), own[1]])
    assert len(ask(tmp_path, level="debug").lines) == 3
    assert ask(tmp_path, session="call-7").raws == own


# --- texts without times: each line is looked at a few times, not once for each hit


def dated(number: int) -> str:
    return at(number)[:-1]


FORMS: dict[str, Callable[[int], bytes]] = {
    "syslog": lambda n: (
        f"Nov 29 09:00:{n % 60:02d} host bot[7]: step {n} session_id=call-7".encode()
    ),
    "uvicorn": lambda n: (
        f'INFO:     10.0.0.1:{n} - "GET /?session_id=call-7 HTTP/1.1" 200'.encode()
    ),
    "cri": lambda n: cri(f"step {n} session_id=call-7".encode(), n)[0],
    "docker": lambda n: docker(f"step {n} session_id=call-7".encode(), n)[0],
    "nginx": lambda n: (
        f'10.0.0.1 - - [29/Nov/2026:09:00:00 +0000] "GET /{n}" session_id=call-7'.encode()
    ),
    "klog": lambda n: (
        f"I1129 09:00:00.{n:06d}       1 main.go:7] step {n} session_id=call-7".encode()
    ),
}


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many lines were unwrapped, and how many bytes were read."""
    counted = [0, 0]
    plain, read = wrappers.unwrap, FileByteReader.read

    def unwrap(line: bytes) -> Any:
        counted[0] += 1
        return plain(line)

    def counting(byte_reader: FileByteReader, offset: int, size: int) -> bytes:
        found = read(byte_reader, offset, size)
        counted[1] += len(found)
        return found

    monkeypatch.setattr(continuation, "unwrap", unwrap)
    monkeypatch.setattr(stream, "unwrap", unwrap)
    monkeypatch.setattr(FileByteReader, "read", counting)
    return counted


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"grep": re.compile("step|GET")},
        {"grep": re.compile("call-7")},
        {"user": "call-7"},
        {"session": "call-7"},
        {"session": "call-7", "mentions": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("form", FORMS)
def test_a_search_looks_at_each_line_a_few_times(
    tmp_path: Path, looks: list[int], form: str, wanted: dict[str, Any]
) -> None:
    """The work of a query grows with the lines, not with the lines times the hits."""
    lines = [FORMS[form](n) for n in range(LINES)]
    write_lines(tmp_path / "a.log", lines)
    found = ask(tmp_path, **wanted)
    assert len(found.lines) == (0 if "user" in wanted else LINES)
    assert looks[0] < 20 * LINES
    assert looks[1] < 40 * sum(map(len, lines))


def test_own_lines_between_texts_are_found_without_reading_much(
    tmp_path: Path, looks: list[int]
) -> None:
    """Around a text that names the session, no more is read than up to the next lines of ours."""
    lines = []
    for n in range(LINES):
        lines.append(encoded(record(n, seq=n + 1, message="x" * 200)))
        lines.append(f"{dated(n)} step {n} session_id=call-7".encode())
    write_lines(tmp_path / "gateway.jsonl", lines)
    assert len(ask(tmp_path, session="call-7").lines) == LINES
    assert looks[1] < 100 * sum(map(len, lines))


def test_a_packed_text_without_times_is_unpacked_a_few_times(tmp_path: Path) -> None:
    """To ask for the time of a line goes back a little, which does not unpack all from the start."""
    lines = [
        b"step %d of a text without any time, padded to some length" % n for n in range(60_000)
    ]
    write_lines(tmp_path / "a.log.gz", lines)
    restarts = []
    plain = PackedByteReader._restart

    def restart(byte_reader: PackedByteReader) -> None:
        restarts.append(byte_reader)
        plain(byte_reader)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(PackedByteReader, "_restart", restart)
        assert len(ask(tmp_path, block_bytes=64 << 10).lines) == len(lines)
    assert len(restarts) < 8


PIECES = st.sampled_from(
    [
        b"2026-11-23 10:00:01 INFO alpha",
        b"2026-11-23 10:00:02 ERROR beta",
        b"alpha without a time",
        b"Traceback (most recent call last):",
        b'  File "alpha.py", line 1, in beta',
        b"    beta()",
        b"ValueError: alpha",
        b"",
        b"INFO:     gamma alpha",
        encoded(record(5, seq=1, message="alpha of ours")),
        encoded(record(6, seq=2, message="beta of ours", level="error")),
        encoded(record(6, seq=3, message="alpha"))[:90] + encoded(record(7, seq=4, message="beta")),
    ]
)


@given(
    st.lists(PIECES, max_size=40),
    st.sampled_from(["alpha", "beta", "gamma"]),
    st.sampled_from([bare, cri, docker]),
)
def test_a_search_finds_what_reading_everything_finds(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], word: str, carrier: Any
) -> None:
    """A search by bytes gives the same entries, at the same times, as decoding all of them."""
    folder = tmp_path_factory.mktemp("same")
    write_lines(folder / "a.log", [carrier(line, 7)[0] for line in lines])

    def said(**wanted: Any) -> list[tuple[str, str]]:
        lines = ask(folder, **wanted).lines
        return [(line.record["timestamp"], line.record["message"]) for line in lines]

    everything = [pair for pair in said() if word in pair[1]]
    assert said(grep=re.compile(word)) == everything


# --- keys of ours in lines of others

ODD: st.SearchStrategy[Any] = st.sampled_from(
    [{}, {"kind": "event"}, [], [1, "a"], 7, -1.5, True, "", "text", None, {"a": {}}]
)


@given(st.dictionaries(st.sampled_from(KEYS), ODD), st.booleans())
def test_a_key_of_ours_may_hold_anything(
    tmp_path_factory: pytest.TempPathFactory, odd: dict[str, Any], own: bool
) -> None:
    """Whatever value stands under a key of ours, each line is read, and becomes a valid record."""
    folder = tmp_path_factory.mktemp("odd")
    named = {"time": at(1), "msg": "joined", "session.id": "call-7", "service.name": "shop"}
    first = {**record(1, session="call-7"), **odd} if own else {**named, **odd}
    last = record(2, session="call-7", seq=2, message="last", service="bot", event="session.ended")
    write_lines(folder / "a.log", [encoded(first), encoded(last)])
    answered = ask(folder, session="call-7")
    assert "last" in answered.messages
    for line in ask(folder).lines:
        assert type(line.record.get("event", "")) is str
        assert type(line.record.get("meta", {})) is dict
        assert type(line.record.get("boot", "")) is str


ODD_VALUES = [{"kind": "event"}, ["a"], 7, True]


@pytest.mark.parametrize("words", [("logs", "-o", "json"), ("logs", "-o", "pretty"), ("sessions",)])
def test_every_command_reads_keys_of_other_types(tmp_path: Path, words: tuple[str, ...]) -> None:
    """No command fails at an object, a list, a number or a boolean under any key of ours."""
    logs = tmp_path / "logs"
    lines = []
    for number, (key, value) in enumerate((key, value) for key in KEYS for value in ODD_VALUES):
        named = {"@timestamp": at(number), "msg": "joined", "session_id": "call-7"}
        lines.append({**named, key: value})
        lines.append({**record(number, seq=number + 1, session="call-7"), key: value})
    write_lines(logs / "a.log", [encoded(line) for line in lines])
    report, bundle = tmp_path / "r.html", tmp_path / "b.zip"
    files = ("--report", str(report), "--bundle", str(bundle)) if words[0] == "logs" else ()
    found = cordboard(*words, "--dir", str(logs), *files)
    assert b"Traceback" not in found.stderr
    assert b"call-7" in found.stdout
    assert not files or (report.exists() and bundle.exists())


# --- names of files


@pytest.fixture
def oddly_named(tmp_path: Path) -> Path:
    """A folder whose name, and a file's in it, are no UTF-8."""
    logs = Path(os.fsdecode(os.fsencode(tmp_path) + b"/log\xe9"))
    write_lines(
        Path(os.fsdecode(os.fsencode(logs) + b"/caf\xe9.log")), [b"2026-11-29T09:00:00Z one"]
    )
    write_lines(logs / "gateway.jsonl", [encoded(record(2, session="call-7", message="two"))])
    return logs


@pytest.mark.parametrize(
    "words",
    [
        ("logs", "-o", "json"),
        ("logs", "-o", "raw"),
        ("logs", "-o", "pretty"),
        ("logs", "--session", "call-7", "-o", "json"),
        ("logs", "--explain"),
        ("sessions",),
        ("sessions", "call-7"),
        ("sessions", "-o", "json"),
    ],
)
def test_a_name_that_is_no_utf8_is_no_error(oddly_named: Path, words: tuple[str, ...]) -> None:
    """Every form of output names such a file in valid text."""
    found = cordboard(*words, "--dir", str(oddly_named))
    assert b"Traceback" not in found.stderr, found.stderr
    assert found.returncode == 0
    if "json" in words:
        for line in found.stdout.splitlines():
            json.loads(line)
    if words == ("logs", "-o", "json"):
        assert json.loads(found.stdout.splitlines()[0])["service"] == "gateway"
        assert json.loads(found.stdout.splitlines()[1])["service"] == r"caf\xe9"


def test_files_are_made_of_oddly_named_ones(oddly_named: Path, tmp_path: Path) -> None:
    """Report, collection, bundle and coverage are made, and name the file."""
    targets = {name: tmp_path / name for name in ("r.html", "r.txt", "c", "b.zip", "coverage.json")}
    for first in ("r.html", "r.txt"):
        words: tuple[str, ...] = (
            "--report",
            str(targets[first]),
            "--coverage",
            str(targets["coverage.json"]),
        )
        if first == "r.html":
            words = (*words, "--collect", str(targets["c"]), "--bundle", str(targets["b.zip"]))
        found = cordboard("logs", "--dir", str(oddly_named), *words)
        assert found.returncode == 0, found.stderr
    assert "caf\\xe9" in targets["r.txt"].read_text()
    assert "caf\\\\xe9" in targets["r.html"].read_text()
    coverage = json.loads(targets["coverage.json"].read_text())
    assert any(answer["name"] == r"caf\xe9" for answer in coverage["answers"])
    assert len(list(targets["c"].iterdir())) == 3


# --- lines that were torn

FIRST = encoded(record(1, seq=1, session="call-7", message="one"))
TORN = encoded(record(2, seq=2, session="call-7", message="two"))[:90]
GLUED = TORN + encoded(record(5, boot="bbbbbbbb", seq=1, session="call-7", message="restarted"))
NEXT = encoded(record(6, boot="bbbbbbbb", seq=2, session="call-7", message="next"))


def messages(data: bytes) -> list[str]:
    return [json.loads(line)["message"] for line in data.splitlines()]


@pytest.mark.parametrize("carrier", [None, cri, docker])
@pytest.mark.parametrize("around", [1, 5000])
def test_a_line_glued_to_a_torn_one_is_a_line_of_its_own(
    tmp_path: Path, carrier: Any, around: int
) -> None:
    """Where a process was killed while it wrote, the next one's first line is whole, and JSON is valid."""
    more = [
        encoded(record(7 + n / 1000, boot="bbbbbbbb", seq=3 + n, message="more"))
        for n in range(around)
    ]
    lines = [FIRST, GLUED, NEXT, *more]
    if carrier is not None:
        lines = [carrier(line, 1)[0] for line in lines]
    write_lines(tmp_path / "gateway.jsonl", lines)
    words = ("logs", "--dir", str(tmp_path))
    plain = cordboard(*words, "-o", "json")
    assert messages(plain.stdout)[:4] == ["one", "two", "restarted", "next"]
    assert b"1 cut" in plain.stderr
    of_session = cordboard(*words, "--session", "call-7", "-o", "json")
    assert messages(of_session.stdout) == ["one", "restarted", "next"]
    assert b"gatew{" not in of_session.stderr
    searched = cordboard(*words, "--grep", "restarted", "-o", "json")
    assert messages(searched.stdout) == ["restarted"]


def test_what_is_handed_over_is_valid_json_on_each_line(tmp_path: Path) -> None:
    """A collection and a bundle hold no line that begins as JSON and is none."""
    write_lines(tmp_path / "in" / "gateway.jsonl", [FIRST, GLUED, NEXT, b'{"level":"info","mess'])
    found = cordboard(
        "logs", "--dir", str(tmp_path / "in"), "--collect", str(tmp_path / "c"), "--bundle",
        str(tmp_path / "b.zip"),
    )  # fmt: skip
    assert b"2 cut" in found.stderr
    wanted = ["one", "two", "restarted", "next"]
    assert messages((tmp_path / "c" / "gateway.jsonl").read_bytes())[:4] == wanted
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        assert messages(archive.read("lines/gateway.jsonl"))[:4] == wanted


def test_a_record_inside_of_a_record_is_no_line_of_its_own(tmp_path: Path) -> None:
    """An object in `meta` that begins as a line of ours does stays where it is."""
    inner = record(1, seq=9, message="quoted")
    lines = [encoded(record(n, seq=n, message="outer", meta={"line": inner})) for n in (1, 2)]
    write_lines(tmp_path / "gateway.jsonl", lines)
    found = ask(tmp_path)
    assert found.raws == lines
    assert not found.coverage.counts
    assert ask(tmp_path, grep=re.compile("outer")).raws == lines


@given(st.lists(st.integers(30, 400), min_size=1, max_size=4))
def test_each_torn_line_is_told_apart(sizes: list[int]) -> None:
    """However many lines lack their newline, each is one part, and no byte is lost."""
    whole = [encoded(record(n, seq=n, message="m" * n)) for n in range(len(sizes))]
    torn = [line[: max(50, size)] for line, size in zip(whole, sizes, strict=True)]
    glued = b"".join([*torn[:-1], whole[-1]])
    assert b"".join(continuation.parted(glued)) == glued
    assert continuation.parted(glued) == [*torn[:-1], whole[-1]]
