"""A double of Loki's read interface, as strict as the server: what it refuses, cuts or hides, this does too."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

SECOND = 10**9
_SELECTOR = re.compile(r'(\w+)(=~?)("(?:[^"\\]|\\.)*")')
_RANGE = re.compile(
    r"(sum|min|max) by \(boot\) \((count_over_time|min_over_time|max_over_time|sum_over_time)\((.*?)"
    r"( \| json boot=\"boot\", seq=\"seq\"( \| __error__=\"\")?)( \| unwrap seq)? \[(\d+)s\]\)\)"
)
_FILTER = re.compile(r'(\|=|\|~) ("(?:[^"\\]|\\.)*")')


class LokiDouble(ThreadingHTTPServer):
    """A server with the streams of one tenant.

    Attributes:
        entries: Time in nanoseconds, labels and text of each line, in the order of arrival.
        asked: The values of each request for lines.
        refusals: Statuses that the next requests for lines are answered with.
        other: What is answered to each request for lines or counts instead, if anything.
        cut: Whether answers end before their last bytes.
        copies: How often lines are counted that are returned once, as after a flush.
        drops: Tells which texts are left out of the answer to a request for lines, by the request's number.
        pause_s: How long each answer takes.
        most_in_flight: The most requests that were open at once.
        tells_limits: Whether the limits have an address.
        counted: The values of each request for counts.
    """

    daemon_threads = True

    def __init__(
        self, *, entries_max: int = 5000, length_s: int = 0, lookback_s: int = 0, tenant: str = ""
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.entries_max = entries_max
        self.length_s = length_s
        self.lookback_s = lookback_s
        self.tenant = tenant
        self.entries: list[tuple[int, dict[str, str], str]] = []
        self.asked: list[dict[str, str]] = []
        self.refusals: list[int] = []
        self.other = ""
        self.cut = False
        self.copies = 1
        self.drops: Callable[[str, int], bool] = lambda _text, _number: False
        self.counted: list[dict[str, str]] = []
        self.seen_headers: list[Any] = []
        self.tells_limits = True
        self.pause_s = 0.0
        self.in_flight = self.most_in_flight = 0
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def push(self, streams: Iterable[dict[str, Any]]) -> None:
        """Take lines in; one with the time and the text of another of its stream is ignored."""
        for stream in streams:
            for nanosecond, text, *_ in stream["values"]:
                entry = (int(nanosecond), dict(stream["stream"]), text)
                if entry not in self.entries:
                    self.entries.append(entry)

    def find(self, values: dict[str, str]) -> tuple[int, Any]:
        """Return the status and the answer of a request for lines."""
        limit = int(values.get("limit", "100"))
        begin, end = int(values["start"]), int(values["end"])
        if limit > self.entries_max:
            return 400, (
                "max entries limit per query exceeded, limit > max_entries_limit_per_query "
                f"({limit} > {self.entries_max})"
            )
        if end < begin:
            return 400, "end timestamp must not be before or equal to start time"
        if self.lookback_s:
            begin = max(begin, time.time_ns() - self.lookback_s * SECOND)
        if self.length_s and end - begin > self.length_s * SECOND:
            return 400, "the query time range exceeds the limit"
        found = [
            entry
            for entry in self.entries
            if begin <= entry[0] < end
            and _fits(values["query"], entry)
            and not self.drops(entry[2], len(self.asked))
        ]
        backward = values.get("direction", "backward") == "backward"
        found.sort(key=lambda entry: entry[0], reverse=backward)
        streams: dict[str, dict[str, Any]] = {}
        for nanosecond, labels, text in found[:limit]:
            stream = streams.setdefault(json.dumps(labels), {"stream": labels, "values": []})
            stream["values"].append([str(nanosecond), text])
        return 200, {
            "status": "success",
            "data": {"resultType": "streams", "result": list(streams.values())},
        }

    def count(self, values: dict[str, str]) -> tuple[int, Any]:
        """Return the status and the answer of a request for counts: those of (time - length, time]."""
        found = _RANGE.fullmatch(values["query"])
        if found is None or (found[2] == "count_over_time") == bool(found[6]):
            return 400, "parse error : syntax error: unexpected IDENTIFIER"
        last = int(values["time"])
        first = last - int(found[7]) * SECOND
        if self.lookback_s:
            first = max(first, time.time_ns() - self.lookback_s * SECOND)
        numbers: dict[str, list[int]] = {}
        for entry in self.entries:
            if not (first < entry[0] <= last and _fits(found[3], entry)):
                continue
            try:
                record = json.loads(entry[2])
            except ValueError:
                if not found[5]:
                    return 400, "pipeline error: 'JSONParserErr' for series"
                continue
            if "seq" in record:  # `unwrap` passes over lines without the label
                numbers.setdefault(record.get("boot", ""), []).append(record["seq"])
        how: dict[str, Callable[[list[int]], int]] = {
            "count": lambda many: len(many) * self.copies,
            "sum": lambda many: sum(many) * self.copies, "min": min, "max": max,
        }  # fmt: skip
        measure = how[found[2].partition("_")[0]]
        return 200, {
            "status": "success",
            "data": {
                "resultType": "vector",
                "result": [
                    {"metric": {"boot": boot}, "value": [last / SECOND, str(measure(many))]}
                    for boot, many in numbers.items()
                ],
            },
        }


def _fits(query: str, entry: tuple[int, dict[str, str], str]) -> bool:
    _, labels, text = entry
    selector = query[: query.index("}") + 1]
    for name, operator, quoted in _SELECTOR.findall(selector):
        value, label = json.loads(quoted), labels.get(name, "")
        if label != value if operator == "=" else re.fullmatch(value, label) is None:
            return False
    for operator, quoted in _FILTER.findall(query):
        term = json.loads(quoted)
        if term not in text if operator == "|=" else re.search(term, text) is None:
            return False
    return True


class _Handler(BaseHTTPRequestHandler):
    server: LokiDouble

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.in_flight += 1
            self.server.most_in_flight = max(self.server.most_in_flight, self.server.in_flight)
        time.sleep(self.server.pause_s)
        parts = urlsplit(self.path)
        values = {name: found[0] for name, found in parse_qs(parts.query).items()}
        self.server.seen_headers.append(self.headers)
        tenant = self.headers.get("X-Scope-OrgID", "")
        if parts.path == "/config/tenant/v1/limits" and self.server.tells_limits:
            self._answer(200, self._limits()) if tenant else self._answer(401, "no org id\n")
        elif parts.path not in {"/loki/api/v1/query_range", "/loki/api/v1/query"}:
            self._answer(404, "404 page not found\n")
        elif self.server.tenant and tenant != self.server.tenant:
            self._answer(401, "no org id\n")
        elif self.server.other:
            self._answer(200, self.server.other)
        elif parts.path == "/loki/api/v1/query":
            self.server.counted.append(values)
            status, found = self.server.count(values)
            self._answer(status, found if isinstance(found, str) else json.dumps(found))
        else:
            self.server.asked.append(values)
            if self.server.refusals:
                self._answer(self.server.refusals.pop(0), "too many outstanding requests\n")
                return
            status, found = self.server.find(values)
            self._answer(status, found if isinstance(found, str) else json.dumps(found))

    def _limits(self) -> str:
        return (
            f"max_entries_limit_per_query: {self.server.entries_max}\n"
            f"max_query_length: {self.server.length_s // 3600}h{self.server.length_s % 3600}s\n"
            f"max_query_lookback: {self.server.lookback_s}s\nretention_period: 0s\n"
        )

    def _answer(self, status: int, text: str) -> None:
        data = text.encode()
        with self.server.lock:  # before the client can send its next request
            self.server.in_flight -= 1
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if self.server.cut and status == 200 else data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def values_of(answer: Any) -> Sequence[tuple[str, str]]:
    """The times and texts of an answer, over all of its streams, in order."""
    return sorted(
        (value[0], value[1]) for stream in answer["data"]["result"] for value in stream["values"]
    )
