"""Results of queries as the stores' own interfaces return them, saved to a file or printed by a command.

The shapes are those of the stores' references: Loki's ``query_range``, CloudWatch's ``GetQueryResults`` and
subscriptions, Datadog's ``logs/events/search``, Elasticsearch's ``_search``, Splunk's ``search/jobs``, Google Cloud's
``entries.list``, and the query of Azure Monitor's Log Analytics.
"""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cordboard.logs.coverage import Shortfall
from cordboard.logs.formats.batches import unbatched
from cordboard.logs.sources.command import Command
from logs.logs_support import START, ask, ask_source, encoded, record

T0_MS = int(START.timestamp()) * 1000
LINES = [
    bytes(encoded(record(n, seq=n, session=("call-7", "call-8")[n % 2], message=f'"{n}" [ }} \\')))
    for n in range(1, 41)
]
NEWEST_FIRST = LINES[::-1]


def at_ms(line: bytes) -> int:
    return T0_MS + int(json.loads(line)["seq"]) * 1000


def stamp_of(line: bytes) -> str:
    stamp: str = json.loads(line)["timestamp"]
    return stamp


def loki() -> dict[str, Any]:
    """Two streams, each with its newest line first; the second has structured metadata."""
    streams: list[dict[str, Any]] = [
        {"stream": {"pod": "bot-1"}, "values": [[f"{at_ms(x)}000000", x.decode()] for x in part]}
        for part in (NEWEST_FIRST[::2], NEWEST_FIRST[1::2])
    ]
    streams[1]["values"] = [[*value, {"trace_id": "7"}] for value in streams[1]["values"]]
    data = {"resultType": "streams", "result": streams, "stats": {"summary": {"shards": 1}}}
    return {"status": "success", "data": data}


def insights() -> dict[str, Any]:
    def row(line: bytes) -> list[dict[str, str]]:
        fields = {
            "@timestamp": stamp_of(line).replace("T", " ")[:23],
            "@message": line.decode(),
            "@ptr": "Ck",
        }
        return [{"field": name, "value": value} for name, value in fields.items()]

    return {
        "queryLanguage": "CWLI",
        "results": [row(line) for line in NEWEST_FIRST],
        "statistics": {"recordsMatched": 40.0},
        "status": "Complete",
    }


def subscription() -> dict[str, Any]:
    events = [{"id": "3", "timestamp": at_ms(x), "message": x.decode()} for x in LINES]
    return {
        "messageType": "DATA_MESSAGE",
        "owner": "123456789012",
        "logGroup": "/voice",
        "logStream": "bot-1",
        "subscriptionFilters": ["all"],
        "logEvents": events,
    }


def datadog() -> dict[str, Any]:
    """Attributes that Datadog has parsed, and a text that it has not."""

    def item(number: int, line: bytes) -> dict[str, Any]:
        said = {"message": line.decode()} if number % 2 else {"attributes": json.loads(line)}
        attributes = {"service": "voice", "status": "info", "timestamp": stamp_of(line), **said}
        return {"id": f"AQ{number}", "type": "log", "attributes": attributes}

    return {
        "data": [item(number, line) for number, line in enumerate(NEWEST_FIRST)],
        "meta": {"elapsed": 7, "status": "done"},
    }


def elasticsearch() -> dict[str, Any]:
    """Documents that were decoded, and those that hold the line as a text, by Filebeat and by Fluent Bit."""

    def hit(number: int, line: bytes) -> dict[str, Any]:
        text = line.decode()
        sources = [{"message": text}, {"log": text, "stream": "stdout"}, json.loads(line)]
        source = {"@timestamp": stamp_of(line), **sources[number % 3]}
        return {"_index": "voice", "_id": str(number), "_score": None, "_source": source}

    hits = [hit(number, line) for number, line in enumerate(NEWEST_FIRST)]
    return {
        "took": 3,
        "timed_out": False,
        "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0},
        "hits": {"total": {"value": 40, "relation": "eq"}, "max_score": None, "hits": hits},
    }


def splunk() -> dict[str, Any]:
    return {
        "preview": False,
        "init_offset": 0,
        "messages": [{"type": "INFO", "text": "done"}],
        "fields": [{"name": "_raw"}, {"name": "_time"}],
        "results": [
            {"_raw": line.decode(), "_time": stamp_of(line), "sourcetype": "kube:container:bot"}
            for line in NEWEST_FIRST
        ],
        "highlighted": {},
    }


def google() -> dict[str, Any]:
    entries = [
        {"insertId": str(n), "jsonPayload": json.loads(line), "timestamp": stamp_of(line)}
        for n, line in enumerate(NEWEST_FIRST)
    ]
    return {"entries": entries}


def azure() -> dict[str, Any]:
    columns = [{"name": "TimeGenerated", "type": "datetime"}]
    columns += [{"name": "LogMessage", "type": "dynamic"}, {"name": "PodName", "type": "string"}]
    rows = [[stamp_of(line), line.decode(), "bot-1"] for line in NEWEST_FIRST]
    return {"tables": [{"name": "PrimaryResult", "columns": columns, "rows": rows}]}


def no_shortfall(why: Shortfall) -> None:
    pytest.fail(why.words)


RESULTS = (loki, insights, subscription, datadog, elasticsearch, splunk, google, azure)
results = pytest.mark.parametrize("result", RESULTS, ids=lambda made: made.__name__)


@results
@pytest.mark.parametrize("indent", [None, 4])
def test_result_is_read_as_its_lines(
    tmp_path: Path, result: Callable[[], dict[str, Any]], indent: int | None
) -> None:
    """In time order, byte for byte, however the store has sorted them and a tool has indented them."""
    (tmp_path / "result.json").write_text(json.dumps(result(), indent=indent))
    answer = ask(tmp_path)
    assert answer.raws == LINES
    assert answer.coverage.complete
    answer = ask(tmp_path, session="call-7")
    assert answer.raws == [line for line in LINES if b'"call-7"' in line]


@results
def test_printed_result_is_read_as_its_lines(result: Callable[[], dict[str, Any]]) -> None:
    """The output of a command comes in pieces, and its first one may be short."""
    text = json.dumps(result(), indent=2).encode()
    (one_file,) = {b"".join(unbatched([text], no_shortfall))}
    pieces = [text[at : at + 7] for at in range(0, len(text), 7)]
    assert b"".join(unbatched(pieces, no_shortfall)) == one_file
    assert one_file.count(b"\n") == len(LINES)


@results
def test_result_of_a_command_is_read_as_its_lines(
    tmp_path: Path, result: Callable[[], dict[str, Any]]
) -> None:
    """A source of type `command` that asks a store with curl needs no further program."""
    (tmp_path / "result.json").write_text(json.dumps(result(), indent=2))
    answer = ask_source(Command(["cat", str(tmp_path / "result.json")]))
    assert answer.raws == LINES
    assert answer.coverage.complete


@results
def test_result_that_ends_early_is_named(
    tmp_path: Path, result: Callable[[], dict[str, Any]]
) -> None:
    """Nothing of it can be decoded, in a file and from a command."""
    text = json.dumps(result())[:-20]
    (tmp_path / "result.json").write_text(text)
    ((_, reason, detail),) = ask(tmp_path).shortfalls
    assert (reason, detail) == ("unreadable", "the JSON is corrupt: unexpected end of file")
    told: list[Shortfall] = []
    assert [*unbatched([text.encode()], told.append)] == []
    assert told == [Shortfall("unreadable", "the JSON is corrupt: unexpected end of the output")]


PAGES: list[tuple[dict[str, Any], str]] = [
    (insights() | {"status": "Running"}, "status is Running"),
    (datadog() | {"meta": {"page": {"after": "eyJ"}}}, "meta.page.after names a further page"),
    (elasticsearch() | {"timed_out": True}, "timed_out is true"),
    (
        elasticsearch() | {"hits": elasticsearch()["hits"] | {"total": {"value": 1000}}},
        "40 of 1000 hits",
    ),
    (splunk() | {"preview": True}, "preview is true"),
    (google() | {"nextPageToken": "x"}, "nextPageToken names a further page"),
    (azure() | {"error": {"message": "The query was cut."}}, "The query was cut."),
]


@pytest.mark.parametrize(("page", "why"), PAGES, ids=[why for _, why in PAGES])
def test_page_of_a_longer_result_is_not_complete(
    tmp_path: Path, page: dict[str, Any], why: str
) -> None:
    """The lines that are there are returned, and what says that there are more is named."""
    text = json.dumps(page)
    (tmp_path / "result.json").write_text(text)
    answer = ask(tmp_path)
    assert answer.raws == LINES
    assert [(reason, detail) for _, reason, detail in answer.shortfalls] == [("truncated", why)]
    (tmp_path / "result.json").write_bytes(gzip.compress(text.encode()))
    assert [detail for _, _, detail in ask(tmp_path).shortfalls] == [why]
    told: list[Shortfall] = []
    assert b"".join(unbatched([text.encode()], told.append)).count(b"\n") == len(LINES)
    assert told == [Shortfall("truncated", why)]


def test_results_one_after_the_other_are_read_as_one_stream(tmp_path: Path) -> None:
    """Firehose writes the messages of a subscription without anything between them, compressed."""
    whole = subscription()
    parts = [whole | {"logEvents": whole["logEvents"][at : at + 10]} for at in (0, 10, 20, 30)]
    text = "".join(json.dumps(part) for part in parts)
    (tmp_path / "voice-1-2026").write_bytes(gzip.compress(text.encode()))
    answer = ask(tmp_path)
    assert answer.raws == LINES
    assert answer.coverage.complete


def test_entry_of_an_unknown_form_is_named(tmp_path: Path) -> None:
    """A result that is not what its beginning says."""
    broken = loki()
    broken["data"]["result"][0]["values"][0] = 7
    (tmp_path / "result.json").write_text(json.dumps(broken))
    ((_, reason, detail),) = ask(tmp_path).shortfalls
    assert reason == "unreadable"
    assert "an entry has an unknown form" in detail


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(datadog() | {"meta": {"page": "next"}}),
        json.dumps(loki())[:-1] + ',"more":' + "[" * 200_000 + "]" * 200_000 + "}",
    ],
    ids=["another member", "nested deeply"],
)
def test_printed_result_that_cannot_be_read_is_named(text: str) -> None:
    """A program may print anything; it ends no query."""
    told: list[Shortfall] = []
    assert [*unbatched([text.encode()], told.append)] == []
    assert [why.reason for why in told] == ["unreadable"]


@pytest.mark.parametrize(
    "line",
    [
        '{"status":"success","data":{"id":7}}',
        '{"results":[{"id":7}],"message":"Searched"}',
        '{"data":[{"name":"x"}],"message":"Loaded"}',
        '{"entries":[{"id":7}],"message":"Listed"}',
        '{"tables":[1,2],"message":"Seen"}',
        '{"took":3,"message":"Asked"}',
    ],
)
def test_line_of_a_log_is_no_result(tmp_path: Path, line: str) -> None:
    """A logger may write members of the same names."""
    (tmp_path / "app.log").write_text(f"{line}\n" * 3)
    answer = ask(tmp_path)
    assert len(answer.lines) == 3
    assert answer.coverage.complete


@pytest.mark.parametrize("chunk", [b"plain text\n", b'{"level":"info"}\n', b"  \n", b"{"])
def test_printed_line_is_passed_on_at_once(chunk: bytes) -> None:
    """What is followed is shown when it is there; only what may begin a result waits for its next bytes."""

    def chunks() -> Any:
        yield chunk
        raise KeyboardInterrupt

    if chunk.strip() in {b"", b"{"}:
        with pytest.raises(KeyboardInterrupt):
            next(unbatched(chunks(), no_shortfall))
    else:
        assert next(unbatched(chunks(), no_shortfall)) == chunk
