"""How lines of other loggers are read: levels, times, sessions, tracebacks; and damaged or odd files."""

import bz2
import lzma
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cordboard.logs import timespec
from cordboard.logs.formats import formats_from
from cordboard.logs.formats.decode import level_in, level_of
from cordboard.logs.query import Query
from cordboard.logs.reader import Reader
from cordboard.logs.sources.directory import Directory
from logs.logs_support import ask, encoded, reasons, record, write_lines

NOON = 1795953600  # 2026-11-29T12:00:00Z


def read(folder: Path, *lines: str, name: str = "app.log", **wanted: Any) -> list[dict[str, Any]]:
    """The records of a file that was last written on 2026-11-29."""
    write_lines(folder / name, [line.encode() for line in lines])
    os.utime(folder / name, (NOON, NOON))
    return [line.record for line in ask(folder, **wanted).lines]


@pytest.fixture(autouse=True)
def in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose zone is not UTC: a time without a zone is seen to be taken for local."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        timespec._hour_in_utc.cache_clear()  # of the zone that this process had before
        yield
    time.tzset()
    timespec._hour_in_utc.cache_clear()


@pytest.mark.parametrize(
    ("value", "level"),
    [
        *[(name, "error") for name in ("crit", "EMERG", "dpanic", "SEVERE", "eror", "ftl", "E")],
        *[("50", "error"), (50, "error"), (40, "warn"), (30, "info"), (3, "error"), (7, "debug")],
        *[("W", "warn"), ("inf", "info"), ("finest", "debug"), ("information", "info")],
        *[("gateway", None), (True, None), (None, None), ({}, None), ("", None)],
    ],
)
def test_the_level_of_a_field(value: Any, level: str | None) -> None:
    """Names of syslog, zap, zerolog, Serilog, Java and klog, and numbers of pino and syslog, are levels."""
    assert level_of(value) == level


@pytest.mark.parametrize(
    "text",
    [
        "[emerg] 7#7: bind() failed",
        "[core:error] [pid 7] AH00126: Invalid URI",
        'level="error" msg=x',
        "error\tinternal/x.go:128\tExporting failed",
        "ERR connection lost",
        "0 [Error] [MY-010119] Aborting",
        "laravel.EMERGENCY: no logger",
        "E1129 09:00:08.835880       1 x.go:200] failed",
        "PHP Fatal error:  Uncaught Error",
    ],
)
def test_the_level_in_a_text(text: str) -> None:
    """nginx, Apache, logfmt, zap, zerolog, MySQL, Monolog, klog and PHP write levels in these forms."""
    assert level_in(text) == "error"


@pytest.mark.parametrize("text", ["an error occurred", "errors: 0", "INFO no ERR here", "E11 x"])
def test_a_word_of_a_sentence_is_no_level(text: str) -> None:
    """Only the forms in which loggers write a level count."""
    assert level_in(text) in {None, "info"}


def test_a_status_of_http_is_no_level(tmp_path: Path) -> None:
    """A number under `status` stays a field that conditions can name."""
    (found,) = read(tmp_path, '{"time":"2026-11-29T09:00:00Z","msg":"GET","status":502}')
    assert (found["level"], found["meta"]) == ("info", {"status": 502})


def test_a_name_of_a_level_counts_before_a_number(tmp_path: Path) -> None:
    """The scale of a number is not known: 40 is a warning to pino and an error to Python."""
    line = '{"time":"2026-11-29T09:00:00Z","msg":"m","level":40,"levelname":"ERROR"}'
    assert [found["level"] for found in read(tmp_path, line)] == ["error"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("[Sun Nov 29 09:00:00.123456 2026] [core:error] bad", "2026-11-29T00:00:00.123456Z"),
        ('{"timestamp":"20261129T090020.123Z","m":1}', "2026-11-29T09:00:20.123000Z"),
        ('{"@t":"2026-11-29T09:00:00.1234567Z","@mt":"x"}', "2026-11-29T09:00:00.123456Z"),
        ('{"__REALTIME_TIMESTAMP":"1795942805123456"}', "2026-11-29T09:00:05.123456Z"),
        ("E1129 09:00:24.835880       1 x.go:200] failed", "2026-11-29T00:00:24.835880Z"),
        ('{"timeMillis":1795942803123,"message":"x"}', "2026-11-29T09:00:03.123000Z"),
        ('{"t":{"$date":"2026-11-29T09:00:04.123+00:00"}}', "2026-11-29T09:00:04.123000Z"),
        ('{"timestamp":"1795942800.123"}', "2026-11-29T09:00:00.123000Z"),
        ("[29-Nov-2026 09:00:00 UTC] PHP Warning: x", "2026-11-29T09:00:00.000000Z"),
        ("Nov 29 09:00:00 host-1 app[77]: hello", "2026-11-29T00:00:00.000000Z"),
        ("<14>Dec  1 09:00:00 host-1 app[77]: hello", "2025-12-01T00:00:00.000000Z"),
        ('level=info ts=2026-11-29T09:00:00Z msg="x"', "2026-11-29T09:00:00.000000Z"),
        ("[pid 7] INFO 2026-11-29T09:00:00Z x", "2026-11-29T09:00:00.000000Z"),
        ('10.0.0.1 - - [29/Nov/2026:09:00:00 +0000] "GET /"', "2026-11-29T09:00:00.000000Z"),
    ],
)
def test_the_time_of_a_line(tmp_path: Path, line: str, expected: str) -> None:
    """Times without a year are of the last such day before the file was written."""
    assert [found["timestamp"] for found in read(tmp_path, line)] == [expected]


@pytest.mark.parametrize(
    "line",
    [
        'INFO:     10.0.0.5:5021 - "GET /calls?since=2026-01-01T00:00:00Z HTTP/1.1" 200 OK',
        "INFO:     license valid until 2030-12-31 23:59:59",
        "calls since=2026-01-01T00:00:00Z",
    ],
)
def test_a_date_that_a_line_speaks_of_is_not_its_time(tmp_path: Path, line: str) -> None:
    """It has the time of its carrier, or else of its file."""
    carried = f"2026-11-29T09:00:00.100000001Z stdout F {line}"
    times = [found["timestamp"] for found in read(tmp_path, carried, name="0.log")]
    assert times == ["2026-11-29T09:00:00.100000Z"]
    (tmp_path / "0.log").unlink()
    assert [found["timestamp"][:19] for found in read(tmp_path, line)] == ["2026-11-29T12:00:00"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-29 09:00:00,199 ERROR bot crashed", "09:00:00.200000"),
        ('{"time":"2026-11-29 09:00:00,199","msg":"x"}', "09:00:00.200000"),
        ("2026-11-29T18:00:00.199+09:00 ERROR bot crashed", "09:00:00.199000"),
    ],
)
def test_a_carrier_knows_better_than_a_time_without_a_zone(
    tmp_path: Path, text: str, expected: str
) -> None:
    """The zone of the process is not the zone of the machine that reads."""
    (found,) = read(tmp_path, f"2026-11-29T09:00:00.200000001Z stdout F {text}")
    assert found["timestamp"] == f"2026-11-29T{expected}Z"


@pytest.mark.parametrize(
    "text",
    [
        "left session_id=call-7.",
        "session_id=call-7: left",
        "session_id='call-7' left",
        'ctx={"session_id": "call-7"}',
        "{'session_id': 'call-7'}",
        "sessionId:call-7",
    ],
)
def test_a_session_in_a_text(tmp_path: Path, text: str) -> None:
    """Punctuation of a sentence is no part of an id."""
    found = read(tmp_path, f"2026-11-29T09:00:00Z INFO {text}", session="call-7")
    assert [each["sessionId"] for each in found] == ["call-7"]


@pytest.mark.parametrize("value", ['"None"', '"null"', '"-"', "false", '""'])
def test_a_word_for_no_value_names_no_session(tmp_path: Path, value: str) -> None:
    """Programs write such words where they have no session; they are nobody's."""
    line = f'{{"time":"2026-11-29T09:00:00Z","msg":"x","session_id":{value}}}'
    text = f"2026-11-29T09:00:01Z INFO session_id={value.strip(chr(34))}"
    assert {found["sessionId"] for found in read(tmp_path, line)} == {None}
    if value in {'"None"', '"null"', '"-"'}:
        assert {found["sessionId"] for found in read(tmp_path, text)} == {None}


def test_names_of_the_configuration_count_in_texts(tmp_path: Path) -> None:
    """A session's key that ``[logs.keys]`` names is found in JSON and in text."""
    lines = [
        '2026-11-29T09:02:00Z level=info msg="joined" call_id=call-7',
        '{"time":"2026-11-29T09:02:01Z","msg":"joined","call_id":"call-7"}',
    ]
    write_lines(tmp_path / "app.log", [line.encode() for line in lines])
    formats = formats_from({"keys": {"sessionId": "call_id"}})
    reader = Reader(Query(session="call-7"), [Directory(tmp_path)], formats=formats)
    try:
        assert [line.attribution for line in reader.lines()] == ["explicit", "explicit"]
    finally:
        reader.close()


@pytest.mark.parametrize("trace", ["0" * 32, "0", "-", "00000000-0000-0000-0000-000000000000"])
def test_a_trace_of_zeros_joins_nothing(tmp_path: Path, trace: str) -> None:
    """W3C Trace Context, OpenTelemetry and Datadog write zeros where there is no trace."""
    own = (
        f'{{"time":"2026-11-29T09:00:00Z","msg":"own","session_id":"call-7","trace_id":"{trace}"}}'
    )
    other = f'{{"time":"2026-11-29T09:00:01Z","msg":"other","trace_id":"{trace}"}}'
    found = read(tmp_path, own, other, session="call-7")
    assert [each["message"] for each in found] == ["own"]


LOGURU = """\
2026-11-29 09:00:01.100 | ERROR    | __main__:<module>:8 - Bot failed session_id=call-7
Traceback (most recent call last):

> File "/app/bot.py", line 7, in <module>
    try: f(0)
         \N{BOX DRAWINGS LIGHT UP AND RIGHT} <function f at 0x7fc4433604a0>

  File "/app/bot.py", line 5, in f
    return 1/x

ZeroDivisionError: division by zero
Done
2026-11-29 09:00:02.100 | INFO     | __main__:<module>:9 - Pipeline done session_id=call-7"""


def test_a_traceback_of_loguru_belongs_to_its_record(tmp_path: Path) -> None:
    """Empty lines and the marked frame are part of it; what follows the exception is not."""
    first, _ = read(tmp_path, *LOGURU.splitlines(), session="call-7")
    error = first["error"]
    assert (error["type"], error["message"]) == ("ZeroDivisionError", "division by zero")
    assert error["stack"].splitlines() == LOGURU.splitlines()[1:-2]


def test_numbers_that_json_cannot_say(tmp_path: Path) -> None:
    """Python's encoder writes NaN: the other fields of such a line are read, and it is counted."""
    line = '{"time":"2026-11-29T09:00:00Z","level":"error","msg":"slow","a":NaN,"b":[-Infinity]}'
    (found,) = read(tmp_path, line)
    assert (found["level"], found["message"], found["meta"]) == (
        "error",
        "slow",
        {"a": None, "b": [None]},
    )
    assert ask(tmp_path).coverage.counts["malformed"] == 1


# --- files


def own(seq: int, service: str = "gateway", message: str = "x") -> bytes:
    value = record(
        seq, boot="9f31c2aa", seq=seq, session="call-7", service=service, message=message
    )
    return bytes(encoded(value))


def test_zeros_in_a_text_hide_nothing(tmp_path: Path) -> None:
    """What a crash leaves in a file ends a line; the lines around it are read."""
    before, after = b"2026-11-29T09:00:00Z INFO before", b"2026-11-29T09:05:00Z ERROR after"
    (tmp_path / "app.log").write_bytes(before + b"\0" * 500 + after + b"\n" + own(1) + b"\n")
    answer = ask(tmp_path)
    assert [line.record["level"] for line in answer.lines if line.record["service"] == "app"] == [
        "info",
        "error",
    ]


@pytest.mark.parametrize("data", ["hello\nworld\n".encode("utf-16-le"), b"\x7fELF\0\0\1\2\3\n" * 9])
def test_a_file_of_another_kind_is_passed_over(tmp_path: Path, data: bytes) -> None:
    """A program, or a text in another encoding, is not read as lines."""
    (tmp_path / "app.log").write_bytes(data)
    assert ask(tmp_path).lines == []


def test_a_truncated_file_that_begins_with_a_hole_has_lost_lines(tmp_path: Path) -> None:
    """A program that does not append leaves zeros when its file is truncated: its first line tells."""
    (tmp_path / "gateway.jsonl").write_bytes(b"\0" * 5000 + own(2) + b"\n" + own(3) + b"\n")
    assert "rotated" in reasons(ask(tmp_path, session="call-7"))


@pytest.mark.parametrize(("end", "pack"), [(".xz", lzma.compress), (".bz2", bz2.compress)])
def test_packed_files_are_read(tmp_path: Path, end: str, pack: Callable[[bytes], bytes]) -> None:
    """Xz and bzip2 are read as gzip and zstandard are; damage is named."""
    data = b"".join(own(n) + b"\n" for n in range(1, 2000))
    (tmp_path / f"gateway.log{end}").write_bytes(pack(data))
    answer = ask(tmp_path, session="call-7")
    assert (len(answer.lines), "gap" in reasons(answer)) == (1999, False)
    (tmp_path / f"gateway.log{end}").write_bytes(pack(data)[:-40])
    assert "unreadable" in reasons(ask(tmp_path, session="call-7"))


def test_a_log_of_another_program_called_bot_expects_nobody(tmp_path: Path) -> None:
    """Only numbered lines tell that a bot of the plane spoke, whatever a file is called."""
    line = "2026-11-29 09:00:00.123 | INFO | bot:run:12 - joined session_id=call-7"
    write_lines(tmp_path / "bot.log", [line.encode()])
    assert ask(tmp_path, session="call-7").shortfalls == []


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    """A folder behind a link is read; a circle ends."""
    write_lines(tmp_path / "out" / "gateway.jsonl", [own(1)])
    inside = tmp_path / "in"
    inside.mkdir()
    (inside / "current").symlink_to("../out")
    (tmp_path / "out" / "again").symlink_to("../in")
    assert ask(inside, session="call-7").raws == [own(1)]


def test_hidden_files_are_named(tmp_path: Path) -> None:
    """What is left out for its name is said."""
    write_lines(tmp_path / "gateway.jsonl", [own(1)])
    write_lines(tmp_path / ".hidden.jsonl", [own(2)])
    assert any("name begins with a dot" in note for note in ask(tmp_path).coverage.notes)


@pytest.mark.parametrize("service", ["billing", "gateway", "bot"])
def test_lost_beginnings_show_whatever_a_file_is_called(tmp_path: Path, service: str) -> None:
    """A process's first number tells, wherever its lines are."""
    write_lines(tmp_path / "0.log", [own(118, service), own(119, service)])
    assert "rotated" in reasons(ask(tmp_path, session="call-7"))


def test_a_kept_older_file_is_no_loss(tmp_path: Path) -> None:
    """The lines before are in another file."""
    write_lines(tmp_path / "0.log.1", [own(1, "billing"), own(2, "billing")])
    write_lines(tmp_path / "0.log", [own(3, "billing"), own(4, "billing")])
    assert "rotated" not in reasons(ask(tmp_path, session="call-7"))
