"""Files that hold many entries in one JSON value: exports of consoles, answers of tools, requests of OpenTelemetry."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordboard.logs.formats.batches import Batches, is_batch
from logs.logs_support import START, ask, encoded, record

T0_NS = int(START.timestamp()) * 10**9
LINES = [
    bytes(encoded(record(n, seq=n, session=("call-7", "call-8")[n % 2], message=f'"{n}" [ }} \\')))
    for n in range(1, 41)
]
VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)


def google(line: bytes) -> dict[str, Any]:
    """An entry as Google Cloud's console exports it."""
    payload = json.loads(line)
    return {
        "insertId": "x1",
        "jsonPayload": payload,
        "resource": {"type": "k8s_container", "labels": {"pod_name": "bot-1"}},
        "timestamp": payload["timestamp"],
    }


def aws(line: bytes, number: int) -> dict[str, Any]:
    """An event as `aws logs filter-log-events` prints it."""
    return {
        "logStreamName": "bot-1",
        "timestamp": T0_NS // 10**6 + number * 1000,
        "message": line.decode(),
        "ingestionTime": T0_NS // 10**6,
        "eventId": str(number),
    }


def otlp_value(value: Any) -> dict[str, Any]:
    """A value of the OpenTelemetry protocol in JSON."""
    if isinstance(value, dict):
        items = [{"key": key, "value": otlp_value(item)} for key, item in value.items()]
        return {"kvlistValue": {"values": items}}
    if isinstance(value, list):
        return {"arrayValue": {"values": [otlp_value(item) for item in value]}}
    if type(value) is int:
        return {"intValue": str(value)}
    names = {bool: "boolValue", float: "doubleValue", str: "stringValue"}
    return {names[type(value)]: value} if value is not None else {}


def otlp(bodies: list[Any]) -> dict[str, Any]:
    """A request as the file exporter of the collector writes it."""
    records = [
        {
            "timeUnixNano": str(T0_NS + n * 10**9),
            "body": otlp_value(body),
            "attributes": [{"key": "log.iostream", "value": {"stringValue": "stdout"}}],
        }
        for n, body in enumerate(bodies, 1)
    ]
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "voice"}}]}
    scopes = [{"scope": {}, "logRecords": records[:3]}, {"logRecords": records[3:]}]
    return {"resourceLogs": [{"resource": resource, "scopeLogs": scopes}]}


@pytest.mark.parametrize("indent", [None, 2])
def test_array_of_entries_is_read_as_its_lines(tmp_path: Path, indent: int | None) -> None:
    """Google Cloud's console exports one array; each record comes out byte for byte."""
    text = json.dumps([google(line) for line in LINES], indent=indent, ensure_ascii=False)
    (tmp_path / "downloaded-logs.json").write_text(text + "\n")
    answer = ask(tmp_path)
    assert answer.raws == LINES
    assert answer.coverage.complete


def test_session_in_an_array_is_complete_and_a_lost_entry_is_a_gap(tmp_path: Path) -> None:
    """What is proved of a plain file is proved of an array."""
    path = tmp_path / "export.json"
    path.write_text(json.dumps([google(line) for line in LINES], indent=1))
    answer = ask(tmp_path, session="call-7")
    assert answer.raws == [line for line in LINES if b'"call-7"' in line]
    assert answer.coverage.complete
    path.write_text(json.dumps([google(line) for line in LINES if b'"seq":20}' not in line]))
    reasons = {reason for _, reason, _ in ask(tmp_path, session="call-7").shortfalls}
    assert reasons == {"gap"}


def test_answer_of_the_aws_command_line_is_read_as_its_lines(tmp_path: Path) -> None:
    """The keys behind the events are no entry."""
    answer = {"events": [aws(line, n) for n, line in enumerate(LINES)], "searchedLogStreams": []}
    (tmp_path / "events.json").write_text(json.dumps(answer, indent=4))
    assert ask(tmp_path).raws == LINES


def test_requests_of_opentelemetry_are_read_as_their_records(tmp_path: Path) -> None:
    """A line of the collector's file holds many records, as text or taken apart."""
    texts = [json.dumps(otlp([line.decode() for line in LINES[:20]]))]
    objects = [json.dumps(otlp([json.loads(line) for line in LINES[20:]]))]
    (tmp_path / "otel.jsonl").write_text("\n".join(texts + objects) + "\n")
    answer = ask(tmp_path)
    assert answer.raws == LINES
    assert answer.coverage.complete


def test_foreign_records_of_opentelemetry_have_their_time_and_service(tmp_path: Path) -> None:
    """A text that is no line of ours keeps what the collector knew of it."""
    request = otlp(["worker started"])
    request["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["severityText"] = "WARN"
    (tmp_path / "otel.jsonl").write_text(json.dumps(request))
    (line,) = ask(tmp_path).lines
    assert line.record["message"] == "worker started"
    assert (line.record["level"], line.record["service"]) == ("warn", "voice")
    assert line.record["timestamp"].startswith("2026-11-23T10:00:01")


def test_array_that_ends_early_is_named_and_its_entries_are_read(tmp_path: Path) -> None:
    """A download that was interrupted is not complete."""
    text = json.dumps([google(line) for line in LINES])
    (tmp_path / "export.json").write_text(text[: len(text) - 40])
    answer = ask(tmp_path)
    assert answer.raws == LINES[:-1]
    ((_, reason, detail),) = answer.shortfalls
    assert (reason, detail) == ("unreadable", "the JSON is corrupt: unexpected end of file")


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_batch_is_read_as_its_lines(
    tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    """Stores export compressed arrays; a file may consist of several compressed pieces."""
    text = json.dumps([google(line) for line in LINES], indent=1).encode()
    middle = len(text) // 2
    path = tmp_path / "export.json.packed"
    path.write_bytes(compress(text[:middle]) + compress(text[middle:]))
    answer = ask(tmp_path, session="call-7")
    assert answer.raws == [line for line in LINES if b'"call-7"' in line]
    assert answer.coverage.complete
    path.write_bytes(compress(text[:-40]))
    answer = ask(tmp_path)
    assert answer.raws == LINES[:-1]
    assert [reason for _, reason, _ in answer.shortfalls] == ["unreadable"]


@given(
    st.lists(
        st.dictionaries(st.text(max_size=6), VALUES, min_size=1, max_size=4), min_size=1, max_size=5
    ),
    st.sampled_from([None, 0, 3]),
    st.lists(st.integers(1, 40), min_size=1, max_size=30),
)
def test_entries_come_out_whole_wherever_the_pieces_are_cut(
    entries: list[dict[str, Any]], indent: int | None, sizes: list[int]
) -> None:
    """Brackets, quotes and backslashes within texts end nothing; each entry is one line."""
    data = json.dumps(entries, indent=indent, ensure_ascii=False).encode("utf-8", "surrogatepass")
    assert is_batch(data[:64])
    batches, lines, position = Batches(data[:64]), b"", 0
    for size in [*sizes, len(data)]:
        lines += batches.decompress(data[position : position + size], 0)
        position += size
    assert [json.loads(line) for line in lines.splitlines()] == entries
    assert batches.is_between_entries


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"[INFO] started",
        b"[]",
        b"[1, 2]",
        b'{"events": 3}',
        b'{"a":[{',
        b"[2026-11-30 10:00:00] {",
        b"[{pool-1}] 2026-11-29T09:00:00Z INFO started",
        b'[{"pool-1"}] 2026-11-29T09:00:00Z INFO started',
        b'{"events":[{pool',
        b"[{'a': 1}]",
    ],
)
def test_other_files_are_no_batches(head: bytes) -> None:
    """They are read as lines."""
    assert not is_batch(head)


@pytest.mark.parametrize(
    "head",
    [
        b'[{"',
        b'[{"insertId',
        b'[\n  {\n    "insertId" : "x"',
        b"[{}]",
        b"[{",
        b'[{"a\\"b":1}]',
        b'\xef\xbb\xbf[{"a":1}]',
        b'\xef\xbb\xbf{"events": [{"a":1}]}',
        b'\xef\xbb\xbf{"resourceLogs":[]}',
        b'\xef\xbb\xbf{"status":"success","data":{"resultType":"streams","result":[',
    ],
)
def test_beginnings_of_batches(head: bytes) -> None:
    """An array of objects is known by its first key, behind any white space and a byte order mark."""
    assert is_batch(head)


def test_a_thread_in_brackets_is_text(tmp_path: Path) -> None:
    """A file of text that begins with brackets is read as lines."""
    line = "[{pool-1}] 2026-11-23T10:00:01Z ERROR failed session_id=call-7"
    (tmp_path / "pool.log").write_text(f"{line}\n{line.replace('call-7', 'call-8')}\n")
    (found,) = ask(tmp_path, session="call-7").lines
    assert found.record["message"] == line
    assert found.record["level"] == "error"
    assert found.record["timestamp"] == "2026-11-23T10:00:01.000000Z"
