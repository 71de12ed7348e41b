"""Results of queries, as the stores' interfaces return them: one JSON object each, whose entries become lines.

Loki (``query_range``), CloudWatch (Logs Insights, subscriptions), Datadog, Elasticsearch and OpenSearch, Splunk, Google
Cloud (``entries.list``) and Azure Monitor. A page of a result is decoded as a whole: stores bound it (Loki and Datadog
to 5,000 lines, Logs Insights, Elasticsearch and OpenSearch to 10,000). Most stores return the newest entry first, so
the entries are sorted.
"""

import re
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from cordboard.logs.formats import Formats
from cordboard.logs.formats.codec import encode
from cordboard.logs.formats.wrappers import unwrap
from cordboard.logs.patterns import pattern
from cordboard.logs.timespec import nano_timestamp
from cordboard.logs.timestamps import said_key

Entry = Mapping[str, Any]
_UTC: Final = Formats(utc=True)


class Result(NamedTuple):
    """A kind of result.

    Attributes:
        begin: How it begins, in as few members as tell it from a line of a log.
        entries: Returns its entries, in a form that `wrappers.py` knows.
        rest: Returns what says that it is not the whole result; empty where nothing does.
    """

    begin: re.Pattern[bytes]
    entries: Callable[[Entry], Iterator[Entry]]
    rest: Callable[[Entry], str]


def result_of(head: bytes) -> Result | None:
    """Return the kind of result that a file with the first bytes `head` is; None where it is none.

    Args:
        head: 128 bytes suffice.
    """
    head = head.removeprefix(BOM_UTF8)
    return next((kind for kind in _RESULTS if kind.begin.match(head)), None)


def lines_of(kind: Result, result: Any) -> list[bytes]:
    """Return the entries of a result as lines, the oldest first.

    Args:
        kind: Its kind.
        result: The decoded object.
    """
    return sorted((encode(entry) for entry in kind.entries(result)), key=_said_at)


def _said_at(line: bytes) -> bytes:
    inner = unwrap(line)
    return said_key(inner.text, _UTC, inner.key) or b""


def _begin(text: str) -> re.Pattern[bytes]:
    """Compile a pattern in which each blank stands for any white space."""
    return pattern((r"(?:\xef\xbb\xbf)?\s*\{ " + text).replace(" ", r"\s*").encode("latin-1"))


def _items(value: Any, *path: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a list, where there is one, under a path of names."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    yield from (one for one in (value if isinstance(value, list) else []) if isinstance(one, dict))


def _whole(_result: Entry) -> str:
    return ""


def _google_rest(result: Entry) -> str:
    return "nextPageToken names a further page" if result.get("nextPageToken") else ""


def _loki(result: Entry) -> Iterator[Entry]:
    for stream in _items(result, "data", "result"):
        for nanoseconds, line, *_ in stream.get("values") or ():
            time = nano_timestamp(int(nanoseconds))
            yield {"timestamp": time, "labels": stream.get("stream"), "line": line}


def _insights(result: Entry) -> Iterator[Entry]:
    for row in result.get("results") or ():
        fields = {one["field"]: one["value"] for one in row if {"field", "value"} <= one.keys()}
        fields.pop("@ptr", None)
        yield fields


def _insights_rest(result: Entry) -> str:
    status = result.get("status")
    return "" if status in {None, "Complete"} else f"status is {status}"


def _datadog_rest(result: Entry) -> str:
    meta = result.get("meta")
    page = meta.get("page") if isinstance(meta, dict) else None
    return "meta.page.after names a further page" if page and page.get("after") else ""


def _elasticsearch_rest(result: Entry) -> str:
    hits = result.get("hits")
    total = hits.get("total") if isinstance(hits, dict) else None
    number = total.get("value") if isinstance(total, dict) else total
    there = sum(1 for _ in _items(result, "hits", "hits"))
    if isinstance(number, int) and number > there:
        return f"{there} of {number} hits"
    return "timed_out is true" if result.get("timed_out") else ""


def _splunk(result: Entry) -> Iterator[Entry]:
    yield from ({"result": one} for one in _items(result, "results"))


def _splunk_rest(result: Entry) -> str:
    return "preview is true" if result.get("preview") else ""


def _azure(result: Entry) -> Iterator[Entry]:
    for table in _items(result, "tables"):
        names = [column.get("name") for column in _items(table, "columns")]
        for row in table.get("rows") or ():
            yield {str(name): value for name, value in zip(names, row, strict=False)}


def _azure_rest(result: Entry) -> str:
    error = result.get("error")
    return str(error.get("message") or "error") if isinstance(error, dict) else ""


def _member(*path: str) -> Callable[[Entry], Iterator[Entry]]:
    return lambda result: _items(result, *path)


_RESULTS: Final = (
    Result(_begin('"status" : "success" , "data" : \\{ "resultType" : "streams"'), _loki, _whole),
    Result(
        _begin('(?:"queryLanguage" : "\\w+" , )?"results" : \\[ \\[ \\{ "(?:field|value)" : "'),
        _insights,
        _insights_rest,
    ),
    Result(_begin('"messageType" : "DATA_MESSAGE" , "owner" : "'), _member("logEvents"), _whole),
    Result(_begin('"data" : \\[ \\{ "(?:id|attributes|type)" : '), _member("data"), _datadog_rest),
    Result(
        _begin('"(?:took" : \\d+ , "timed_out" : |_scroll_id" : "|pit_id" : ")'),
        _member("hits", "hits"),
        _elasticsearch_rest,
    ),
    Result(_begin('"preview" : \\w+ , "init_offset" : \\d'), _splunk, _splunk_rest),
    Result(
        _begin('"entries" : \\[ \\{ "(?:insertId|logName|jsonPayload|textPayload|resource)" : '),
        _member("entries"),
        _google_rest,
    ),
    Result(_begin('"tables" : \\[ \\{ "(?:name|columns)" : '), _azure, _azure_rest),
)
