"""A double of CloudWatch Logs, as strict as the service: what it refuses, delays or hides, this does too."""

import json
import re
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PAGE_EVENTS_MAX = 10_000
PAGE_BYTES_MAX = 1 << 20
QUERY_ROWS_MAX = 10_000
_TARGET = "Logs_20140328."
# What a regular expression of a filter pattern may consist of, by AWS's page on its syntax.
_EXPRESSION = re.compile(r"(?:[A-Za-z0-9:_#=@/;, -]|[\^$?\[\]{}|*+.]|\\[^A-Za-z0-9]|\\[dsw])*")
_INSIGHTS = re.compile(
    r"fields @timestamp, @message \| filter @message like /(.*?)/ "
    r"(?:\| sort @timestamp asc \| limit (\d+)|\| parse @message /(.*)/ \| fields seq \* 1 as number"
    r" \| stats count\(\*\) as lines, min\(number\) as first, max\(number\) as last,"
    r" sum\(number\) as total by boot)"
)


@dataclass(frozen=True)
class Stored:
    """An event of a log group.

    Attributes:
        timestamp: When it occurred, in milliseconds since 1970.
        ingested: When it becomes visible.
        text: The message.
        number: Its place in the order of arrival.
    """

    timestamp: int
    ingested: int
    text: str
    number: int

    @property
    def fields(self) -> dict[str, Any]:
        """The event as FilterLogEvents returns it."""
        return {
            "logStreamName": f"stream-{self.number % 3}",
            "timestamp": self.timestamp,
            "message": self.text,
            "ingestionTime": self.ingested,
            "eventId": f"{self.number:056d}",
        }


@dataclass
class RefusalError(Exception):
    """An error of the service."""

    code: str
    message: str
    status: int = 400


@dataclass
class Behaviour:
    """What the service does that loses lines of careless clients.

    Attributes:
        page_events: The most events in a page.
        page_bytes: The most bytes in a page.
        is_sparse: Whether an empty page with a token comes before each page.
        is_repeating: Whether an empty page carries the token of the page before it.
        throttled: How many of the next requests are refused.
        refusal: The error of every request; None to serve.
        query_states: The states of a query before it is complete.
    """

    page_events: int = PAGE_EVENTS_MAX
    page_bytes: int = PAGE_BYTES_MAX
    is_sparse: bool = False
    is_repeating: bool = False
    throttled: int = 0
    refusal: RefusalError | None = None
    query_states: tuple[str, ...] = ("Scheduled", "Running")
    query_end: str = "Complete"


class CloudWatchDouble(ThreadingHTTPServer):
    """A region with log groups.

    Attributes:
        groups: The events of each group.
        behaviour: What it does to its clients.
        asked: Each request: its operation and its parameters.
    """

    daemon_threads = True

    def __init__(self, *groups: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._lock = threading.Lock()
        self.reset(*groups)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def reset(self, *groups: str) -> None:
        """Forget all events and requests, and behave well."""
        self.groups: dict[str, list[Stored]] = {group: [] for group in groups}
        self.behaviour = Behaviour()
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.other: dict[str, dict[str, Any]] = {}
        self._queries: dict[str, dict[str, Any]] = {}
        self._states: dict[str, list[str]] = {}
        self._tokens: dict[str, tuple[int, bool]] = {}

    def put(self, group: str, events: Iterable[tuple[int, str]], *, delay_ms: int = 0) -> None:
        """Take events in; they become visible `delay_ms` after they occurred."""
        stored = self.groups[group]
        for timestamp, text in events:
            stored.append(Stored(timestamp, timestamp + delay_ms, text, len(stored)))

    def answer(self, operation: str, values: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a request.

        Raises:
            RefusalError: The service refuses it.
        """
        with self._lock:
            self.asked.append((operation, values))
            if self.behaviour.throttled:
                self.behaviour.throttled -= 1
                raise RefusalError("ThrottlingException", "Rate exceeded")
            if self.behaviour.refusal is not None:
                raise self.behaviour.refusal
            if operation in self.other:
                return self.other[operation]
            operations = {
                "FilterLogEvents": self._filter,
                "StartQuery": self._start_query,
                "GetQueryResults": self._query_results,
                "StopQuery": lambda _: {"success": True},
                "DescribeLogGroups": self._describe,
            }
            return operations[operation](values)

    def _events(self, group: str) -> list[Stored]:
        if group not in self.groups:
            raise RefusalError(
                "ResourceNotFoundException", "The specified log group does not exist."
            )
        now = time.time() * 1000
        # In the documented order: the time of the event, of its arrival, and the request.
        visible = [event for event in self.groups[group] if event.ingested <= now]
        return sorted(visible, key=lambda event: (event.timestamp, event.ingested, event.number))

    def _filter(self, values: dict[str, Any]) -> dict[str, Any]:
        events = self._events(_group_of(values))
        matches = _filter_pattern(values.get("filterPattern", ""))
        first, last = values.get("startTime", 0), values.get("endTime", 1 << 62)
        found = [e for e in events if first <= e.timestamp <= last and matches(e.text)]
        place, is_empty = self._place(values.get("nextToken"))
        if is_empty:
            token = values["nextToken"] if self.behaviour.is_repeating else self._token(place)
            if self.behaviour.is_repeating:
                self._tokens[token] = (place, False)
            return {"events": [], "searchedLogStreams": [], "nextToken": token}
        page: list[dict[str, Any]] = []
        size = 0
        for event in found[place:]:
            size += len(event.text.encode()) + 26
            if len(page) == self.behaviour.page_events or (
                page and size > self.behaviour.page_bytes
            ):
                break
            page.append(event.fields)
        answer: dict[str, Any] = {"events": page, "searchedLogStreams": []}
        if place + len(page) < len(found):
            answer["nextToken"] = self._token(place + len(page), is_empty=self.behaviour.is_sparse)
        return answer

    def _token(self, place: int, *, is_empty: bool = False) -> str:
        token = f"token-{place}-{is_empty:d}"
        self._tokens[token] = (place, is_empty)
        return token

    def _place(self, token: str | None) -> tuple[int, bool]:
        if token is None:
            return 0, False
        if token not in self._tokens:
            raise RefusalError("InvalidParameterException", "The specified nextToken is invalid.")
        return self._tokens[token]

    def _start_query(self, values: dict[str, Any]) -> dict[str, Any]:
        if _INSIGHTS.fullmatch(values["queryString"]) is None:
            raise RefusalError("MalformedQueryException", "unexpected symbol found")
        if not 0 <= values["startTime"] <= values["endTime"] < 10**11:
            raise RefusalError("InvalidParameterException", "startTime and endTime are in seconds")
        (group,) = values["logGroupIdentifiers"]
        self._events(group)
        query_id = f"query-{len(self._queries)}"
        self._queries[query_id] = values
        self._states[query_id] = list(self.behaviour.query_states)
        return {"queryId": query_id}

    def _query_results(self, values: dict[str, Any]) -> dict[str, Any]:
        query = self._queries[values["queryId"]]
        if self._states[values["queryId"]]:
            return {
                "status": self._states[values["queryId"]].pop(0),
                "results": [],
                "statistics": {},
            }
        expression, limit, parts = _INSIGHTS.fullmatch(query["queryString"]).groups()  # type: ignore[union-attr]
        found = [
            event
            for event in self._events(query["logGroupIdentifiers"][0])
            if query["startTime"] <= event.timestamp // 1000 <= query["endTime"]
            and re.search(expression.replace(r"\/", "/"), event.text)
        ]
        statistics = {"recordsMatched": float(len(found)), "recordsScanned": 1e6}
        if parts:
            results = _counted(parts, [event.text for event in found])
            return {
                "status": self.behaviour.query_end, "statistics": statistics, "results": results
            }  # fmt: skip
        rows = found[: min(int(limit), QUERY_ROWS_MAX)]
        return {
            "status": self.behaviour.query_end,
            "statistics": statistics,
            "results": [
                [
                    {"field": "@timestamp", "value": _insights_time(event.timestamp)},
                    {"field": "@message", "value": event.text},
                    {"field": "@ptr", "value": f"ptr-{event.number}"},
                ]
                for event in rows
            ],
        }

    def _describe(self, values: dict[str, Any]) -> dict[str, Any]:
        prefix = values.get("logGroupNamePrefix", "")
        return {"logGroups": [{"logGroupName": g} for g in self.groups if g.startswith(prefix)]}


def _counted(expression: str, texts: Iterable[str]) -> list[list[dict[str, str]]]:
    """Return one row for each process: how many lines it has, the lowest and the highest number."""
    numbers: dict[str, list[int]] = {}
    parts = re.compile(expression.replace("(?<", "(?P<"))
    for text in texts:
        found = parts.search(text)
        numbers.setdefault(found["boot"] if found else "", []).append(
            int(found["seq"]) if found else 0
        )
    return [
        [
            {"field": name, "value": str(value)}
            for name, value in (
                ("boot", boot),
                ("lines", len(many)),
                ("first", min(many)),
                ("last", max(many)),
                ("total", sum(many)),
            )
            if value != ""
        ]
        for boot, many in numbers.items()
    ]


def _group_of(values: dict[str, Any]) -> str:
    names = [values[key] for key in ("logGroupName", "logGroupIdentifier") if key in values]
    if len(names) != 1:
        raise RefusalError("InvalidParameterException", "exactly one log group is required")
    return str(names[0])


def _filter_pattern(pattern: str) -> Any:
    """Return what tells whether a text matches: all, or a regular expression between percent signs."""
    if not pattern:
        return lambda _: True
    if len(pattern) > 1024:
        raise RefusalError("InvalidParameterException", "Member must have length less than 1025")
    if not (len(pattern) > 2 and pattern[0] == pattern[-1] == "%"):
        raise RefusalError("InvalidParameterException", "only regular expressions are used here")
    expression = pattern[1:-1]
    if _EXPRESSION.fullmatch(expression) is None:
        raise RefusalError(
            "InvalidParameterException", "Invalid character(s) in regular expression"
        )
    return re.compile(expression).search


def _insights_time(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{milliseconds % 1000:03d}"


class _Handler(BaseHTTPRequestHandler):
    server: CloudWatchDouble

    def do_POST(self) -> None:
        """Answer a request of the JSON protocol 1.1."""
        values = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.headers["Authorization"].startswith("AWS4-HMAC-SHA256 ")
        operation = self.headers["X-Amz-Target"].removeprefix(_TARGET)
        try:
            status, body = 200, self.server.answer(operation, values)
        except RefusalError as refusal:
            status, body = refusal.status, {"__type": refusal.code, "message": refusal.message}
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Write nothing."""
