"""Lines of other loggers, behind any carrier, become records under the contract's keys."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordboard.contract.errors import SettingsError
from cordboard.contract.record import LEVELS
from cordboard.logs.formats import Formats, formats_from
from cordboard.logs.formats.decode import record_of
from cordboard.logs.formats.wrappers import unwrap
from cordboard.logs.timestamps import said_key
from logs.logs_support import ask, at, cri, docker, encoded, kubectl, record, write_lines

UTC_TEXTS = Formats(utc=True)
NOON = b"2026-11-23T12:00:00.000000Z"


def read(line: str | bytes) -> dict[str, Any]:
    """A line as the reader sees it."""
    raw = line.encode() if isinstance(line, str) else line
    inner = unwrap(raw)
    key = said_key(inner.text, UTC_TEXTS) or inner.key or NOON
    return record_of(inner.text, key, "app", UTC_TEXTS)


def test_our_own_is_itself() -> None:
    """A record of the contract is not touched, whatever else its values say."""
    line = record(1, meta={"time": 5, "msg": "x"}, session="call-7")
    assert read(encoded(line)) == line


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (  # pino
            ('{"level":50,"time":1795428672123,"pid":7,"hostname":"h","msg":"It broke",'
            '"session_id":"call-7","err":{"type":"TypeError","message":"no","stack":"TypeError: no\\n at x"}}'),
            {
                "timestamp": "2026-11-23T10:11:12.123000Z",
                "level": "error",
                "message": "It broke",
                "sessionId": "call-7",
                "error": {"type": "TypeError", "message": "no", "stack": "TypeError: no\n at x"},
                "meta": {"pid": 7, "hostname": "h"},
            },
        ),
        (  # structlog
            ('{"event":"It works","logger":"shop.cart","level":"warning",'
            '"timestamp":"2026-11-23T10:11:12.123456Z","user_id":"u-1"}'),
            {
                "timestamp": "2026-11-23T10:11:12.123456Z",
                "level": "warn",
                "message": "It works",
                "tag": "shop.cart",
                "userId": "u-1",
                "sessionId": None,
                "service": "app",
            },
        ),
        (  # loguru, serialize=True
            json.dumps({"text": "x | It works\n", "record": {
                "elapsed": {}, "exception": None, "extra": {"session_id": "call-7", "n": 1},
                "level": {"name": "SUCCESS", "no": 25}, "message": "It works", "name": "shop",
                "time": {"repr": "2026-11-23 10:11:12.5+00:00", "timestamp": 1795428672.5}}}),
            {
                "timestamp": "2026-11-23T10:11:12.500000Z",
                "level": "info",
                "message": "It works",
                "tag": "shop",
                "sessionId": "call-7",
                "meta": {"n": 1},
            },
        ),
        (  # python-json-logger
            ('{"asctime": "2026-11-23 10:11:12,123", "levelname": "CRITICAL", "name": "root",'
            ' "message": "It broke", "exc_info": "Traceback (most recent call last):\\nValueError: bad"}'),
            {
                "timestamp": "2026-11-23T10:11:12.123000Z",
                "level": "error",
                "error": {"type": "ValueError", "message": "bad",
                          "stack": "Traceback (most recent call last):\nValueError: bad"},
            },
        ),
        (  # the Elastic Common Schema
            ('{"@timestamp":"2026-11-23T11:11:12.1+01:00","log.level":"info","message":"m",'
            '"service":{"name":"shop"},"session":{"id":"call-7"},"trace":{"id":"abc"}}'),
            {
                "timestamp": "2026-11-23T10:11:12.100000Z",
                "service": "shop",
                "sessionId": "call-7",
                "traceId": "abc",
            },
        ),
        ('INFO:     127.0.0.1:5 - "GET / HTTP/1.1" 200 OK',
         {"level": "info", "sessionId": None, "service": "app"}),
        ("ERROR:    Exception in ASGI application", {"level": "error"}),
        ("2026-11-23 10:11:12,123 - shop - WARNING - slow",
         {"timestamp": "2026-11-23T10:11:12.123000Z", "level": "warn", "message": "shop - WARNING - slow"}),
        ("2026-11-23 10:11:12.123 | SUCCESS  | shop:buy:7 - done",
         {"timestamp": "2026-11-23T10:11:12.123000Z", "level": "info"}),
        ("2026-11-23T10:11:12Z [\x1b[33mwarning  \x1b[0m] slow \x1b[36msession_id\x1b[0m=\x1b[35mcall-7\x1b[0m",
         {"level": "warn", "sessionId": "call-7", "message": "[warning  ] slow session_id=call-7"}),
        ("7:M 23 Nov 2026 10:11:12.123 # WARNING low memory",
         {"timestamp": "2026-11-23T10:11:12.123000Z", "level": "warn"}),
        ('10.0.0.1 - - [23/Nov/2026:10:11:12 +0100] "GET /" 200',
         {"timestamp": "2026-11-23T09:11:12.000000Z"}),
        ('time=2026-11-23T10:11:12Z level=error msg="no" session_id="call-7"',
         {"timestamp": "2026-11-23T10:11:12.000000Z", "level": "error", "sessionId": "call-7"}),
        ("just words", {"timestamp": NOON.decode(), "level": "info", "message": "just words"}),
    ],
)  # fmt: skip
def test_other_loggers(line: str, expected: dict[str, Any]) -> None:
    """Each logger's own names mean what they mean there; what is left over is meta."""
    found = read(line)
    assert {key: found.get(key) for key in expected} == expected


@pytest.mark.parametrize("carrier", [cri, kubectl, docker])
def test_carriers(carrier: Any) -> None:
    """A carrier's prefix is taken off; its time counts only where the line says none."""
    line = record(5)
    assert read(carrier(encoded(line), 9)[0]) == line
    text = read(carrier(b"just words", 9)[0])
    assert text["message"] == "just words"
    assert text["timestamp"] == at(9)


@pytest.mark.parametrize(
    ("raw", "fault", "expected"),
    [
        (encoded(record(1, session="call-7"))[:-40], "cut", {"sessionId": "call-7", "level": "info"}),
        (b'{"timestamp":"2026-11-23T10:00:01.000000Z",,"sessionId":"call-7"}', "malformed",
         {"sessionId": "call-7"}),
        (encoded(record(1, message="a\xff")).replace(b"\xc3\xbf", b"\xff"), "undecodable",
         {"message": "a\ufffd"}),
        (b"2026-11-23 10:00:01 \xff\xfe", "undecodable", {"message": "\ufffd\ufffd"}),
        (encoded(record(1) | {"truncated": True}), "cut", {"truncated": True}),
    ],
)  # fmt: skip
def test_damage_is_counted(raw: bytes, fault: str, expected: dict[str, Any]) -> None:
    """What is damaged is shown as far as it can be read, and counted."""
    faults: Counter[str] = Counter()
    found = record_of(raw, NOON, "app", UTC_TEXTS, faults)
    assert {key: found.get(key) for key in expected} == expected
    assert faults == {fault: 1}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(
    ["timestamp", "time", "level", "message", "msg", "event", "service", "sessionId", "error", "meta",
     "record", "text", "boot", "seq", "tag", "userId", "log", "stream"]
)  # fmt: skip


@given(st.dictionaries(names | st.text(max_size=5), json_values, max_size=8))
def test_any_object_becomes_a_record(value: dict[str, Any]) -> None:
    """Whatever a line of JSON holds, its record has the keys that the reader relies on."""
    found = read(json.dumps(value))
    assert found["level"] in LEVELS
    assert isinstance(found["message"], str)
    assert isinstance(found["service"], str)
    assert isinstance(found["timestamp"], str)
    assert found["sessionId"] is None or isinstance(found["sessionId"], str)
    assert {"userId", "userName"} <= found.keys()


@given(st.binary(max_size=60))
def test_any_bytes_become_a_record(raw: bytes) -> None:
    """Whatever bytes stand on a line, they become a record."""
    found = read(raw.replace(b"\n", b" "))
    assert isinstance(found["message"], str)


# --- tracebacks

TRACE = [
    b"Traceback (most recent call last):",
    b'  File "x.py", line 1, in f',
    b"    g()",
    b"ValueError: bad",
    b"",
    b"During handling of the above exception, another exception occurred:",
    b"",
    b"Traceback (most recent call last):",
    b'  File "x.py", line 2, in f',
    b"shop.errors.NoSuchThing: worse",
]


def test_a_traceback_belongs_to_its_record(tmp_path: Path) -> None:
    """The lines of a traceback are one entry with the line before them, and no entries of their own."""
    lines = [b"2026-11-23T10:00:01Z ERROR it broke", *TRACE, b"2026-11-23T10:00:02Z INFO next"]
    write_lines(tmp_path / "app.log", lines)
    answer = ask(tmp_path)
    assert answer.messages == ["ERROR it broke", "INFO next"]
    error = answer.lines[0].record["error"]
    assert (error["type"], error["message"]) == ("shop.errors.NoSuchThing", "worse")
    assert error["stack"] == b"\n".join(TRACE).decode()
    assert answer.lines[0].raw == b"\n".join(lines[:-1])


@pytest.mark.parametrize("block_bytes", range(150, 420, 7))
def test_blocks_end_where_entries_do(tmp_path: Path, block_bytes: int) -> None:
    """However much is read at once, an entry is never parted."""
    lines = []
    for second in range(4):
        lines += [f"2026-11-23T10:00:0{second}Z ERROR it broke".encode(), *TRACE[:4]]
    write_lines(tmp_path / "app.log", lines)
    assert [raw.count(b"\n") for raw in ask(tmp_path, block_bytes).raws] == [4] * 4


def test_a_traceback_behind_json(tmp_path: Path) -> None:
    """A traceback belongs to a record of JSON before it only where that tells of an error."""
    bad = b'{"time":"2026-11-23T10:00:01Z","level":"error","msg":"broke","session_id":"call-7"}'
    fine = b'{"time":"2026-11-23T10:00:03Z","level":"info","msg":"fine","session_id":"call-7"}'
    write_lines(tmp_path / "app.log", [bad, *TRACE, fine, *TRACE])
    answer = ask(tmp_path)
    assert answer.messages == ["broke", "fine", TRACE[0].decode()]
    assert answer.lines[0].record["error"]["type"] == "shop.errors.NoSuchThing"
    assert answer.lines[2].record["level"] == "error"
    assert answer.lines[2].record["timestamp"] == answer.lines[1].record["timestamp"]
    assert [line.record["message"] for line in ask(tmp_path, session="call-7").lines] == [
        "broke",
        "fine",
    ]


def test_a_hit_in_a_traceback_finds_its_record(tmp_path: Path) -> None:
    """A search that hits the middle of an entry returns all of it, once."""
    lines = [
        b"2026-11-23T10:00:00Z INFO before",
        b"2026-11-23T10:00:01Z ERROR it broke session_id=call-7",
        *TRACE[:2],
        b"    call-7 call-7",
        b"ValueError: call-7",
        b"2026-11-23T10:00:02Z INFO next",
    ]
    write_lines(tmp_path / "app.log", lines)
    answer = ask(tmp_path, session="call-7")
    assert answer.raws == [b"\n".join(lines[1:6])]


def test_untimed_lines_have_the_time_of_those_before(tmp_path: Path) -> None:
    """A line that says no time stands where it stood, in its file's order."""
    write_lines(
        tmp_path / "app.log",
        [b"INFO: zero", b"2026-11-23T10:00:01Z one", b"INFO: two", b"2026-11-23T10:00:03Z three"],
    )
    write_lines(tmp_path / "b.log", [b"2026-11-23T10:00:02Z between"])
    answer = ask(tmp_path)
    assert answer.messages == ["INFO: zero", "one", "INFO: two", "between", "three"]
    since = ask(tmp_path, since=at(1), until=at(2))
    assert since.messages == ["INFO: zero", "one", "INFO: two"]


# --- settings


def test_further_names() -> None:
    """cordboard.toml names further keys; they win over the usual ones."""
    formats = formats_from(
        {"keys": {"sessionId": "callId", "message": ["words"]}, "timezone": "UTC"}
    )
    found = record_of(b'{"callId":"call-7","words":"hello","msg":"x"}', NOON, "app", formats)
    assert (found["sessionId"], found["message"], found["meta"]) == (
        "call-7",
        "hello",
        {"msg": "x"},
    )
    assert formats.utc


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"key": {}}, "[logs]: unknown setting 'key'. The settings are keys and timezone."),
        ({"timezone": "CET"}, '[logs] timezone: expected "local" or "UTC", got \'CET\'.'),
        (
            {"keys": {"session": "x"}},
            "[logs.keys]: unknown key 'session'. The keys are timestamp, level",
        ),
        (
            {"keys": {"sessionId": 5}},
            "[logs.keys] sessionId: expected a name or a list of names, got 5.",
        ),
        ({"keys": []}, "[logs] keys: expected a table; write [logs.keys]."),
    ],
)
def test_settings_that_are_wrong(table: dict[str, Any], words: str) -> None:
    """A setting that is unknown or of the wrong kind is an error that says what is right."""
    with pytest.raises(SettingsError) as caught:
        formats_from(table)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        b'{"time":"2026-11-23T10:00:01Z","level":"error","msg":"it broke"}',
        b"2026-11-23T10:00:01Z ERROR it broke",
        encoded(record(1, level="error", message="it broke")),
        docker(encoded(record(1, level="error", message="it broke")), 1)[0],
    ],
)
def test_a_byte_order_mark_is_no_part_of_a_line(tmp_path: Path, line: bytes) -> None:
    """A file may begin with one, and files that were put one behind the other have one within."""
    write_lines(tmp_path / "app.log", [b"\xef\xbb\xbf" + line, b"", b"\xef\xbb\xbf" + line])
    found = ask(tmp_path).lines
    assert found
    for one in found:
        assert (one.record["timestamp"], one.record["level"]) == (at(1), "error")
        assert one.record["message"] in {"it broke", "ERROR it broke"}
