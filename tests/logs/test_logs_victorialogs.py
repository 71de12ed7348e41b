"""Lines in VictoriaLogs: a real server where ``VICTORIALOGS_URL`` names one, and a double for its faults."""

import json
import os
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordboard.contract.errors import SettingsError
from cordboard.logs.query import Query
from cordboard.logs.source_check import check_source
from cordboard.logs.sources._http import Store
from cordboard.logs.sources._slices import Page, Slice, read_slices
from cordboard.logs.sources.victorialogs import VictoriaLogs, line_of, open_source
from logs.logs_support import START, ask_source, at, encoded, reasons, record

URL = os.environ.get("VICTORIALOGS_URL", "")
only_with_a_server = pytest.mark.skipif(not URL, reason="no server: VICTORIALOGS_URL is not set")


LOSSES = {"gap", "truncated", "unreachable", "unreadable"}

# --- a real server


class Corpus:
    """Lines of one test in the server, told from those of others by a field ``corpus``."""

    def __init__(self, name: str) -> None:
        self.name = f"{name}-{time.time_ns()}"
        self.source = open_source({"url": URL, "filter": f'corpus:="{self.name}"'})

    def push(self, lines: list[bytes]) -> None:
        """Store lines as texts, as Promtail and Fluent Bit's Loki output do."""
        values = [[str(self._nanoseconds(line)), line.decode()] for line in lines]
        streams = [{"stream": {"corpus": self.name}, "values": values}]
        self._post("/insert/loki/api/v1/push", json.dumps({"streams": streams}), "application/json")

    def insert(self, lines: list[bytes]) -> None:
        """Store lines taken apart into fields, as Vector and Filebeat do."""
        path = "/insert/jsonline?_stream_fields=corpus&_time_field=timestamp&_msg_field=message"
        body = "\n".join(json.dumps({**json.loads(line), "corpus": self.name}) for line in lines)
        self._post(path, body, "application/stream+json")

    def _nanoseconds(self, line: bytes) -> int:
        try:
            moment = json.loads(line)["timestamp"]
        except ValueError:
            moment = line[:27].decode()
        seconds = (START.fromisoformat(moment) - START).total_seconds()
        return int(START.timestamp()) * 10**9 + round(seconds * 10**6) * 1000

    def _post(self, path: str, body: str, kind: str) -> None:
        request = urllib.request.Request(URL + path, body.encode(), {"Content-Type": kind})
        urllib.request.urlopen(request, timeout=20).read()


def a_plane(count: int = 120) -> list[bytes]:
    """Two calls and lines of none, said by two processes; one boot is of digits alone."""
    sessions = ("call-7", "call-8", "server:vm")
    lines = []
    for n in range(count):
        boot, service = (("9f31c2aa", "gateway"), ("01234567", "runner"))[n % 2]
        session = sessions[n % 3]
        meta = {"n": n, "ok": n % 2 == 0, "text": "x\u00e9", "list": [1, "a"], "deep": {"ms": 1.5}}
        value = record(
            n * 0.5, boot=boot, seq=n // 2 + 1, session=session, service=service,
            message=f"line {n}", meta=meta,
        )  # fmt: skip
        lines.append(bytes(encoded(value)))
    return lines


def of_call_7(lines: list[bytes]) -> list[bytes]:
    return [line for line in lines if b'"call-7"' in line]


@only_with_a_server
@pytest.mark.parametrize("way", ["push", "insert"])
def test_a_session_in_a_store_is_complete(way: str) -> None:
    """Its lines are those of a file, and the numbers of its processes show no loss."""
    lines = a_plane()
    corpus = Corpus(f"whole-{way}")
    getattr(corpus, way)(lines)
    answer = ask_source(corpus.source, session="call-7")
    if way == "push":
        assert answer.raws == of_call_7(lines)
    assert [line.record for line in answer.lines] == [json.loads(x) for x in of_call_7(lines)]
    assert not reasons(answer) & LOSSES


@only_with_a_server
@pytest.mark.parametrize("way", ["push", "insert"])
def test_a_line_that_the_store_never_got_is_a_gap(way: str) -> None:
    """Whichever session the lost line was of: its process spoke of this one."""
    lines = a_plane()
    corpus = Corpus(f"gap-{way}")
    getattr(corpus, way)([line for n, line in enumerate(lines) if n != 50])
    details = [
        d
        for _, reason, d in ask_source(corpus.source, session="call-7").shortfalls
        if reason == "gap"
    ]
    assert len(details) == 1
    assert "boot 9f31c2aa: seq 26" in details[0]


@only_with_a_server
def test_a_window_of_a_store(tmp_path: Any) -> None:
    """The end is exclusive, to the microsecond, and slices join without loss or copies."""
    lines = a_plane()
    corpus = Corpus("window")
    corpus.push(lines)
    small = VictoriaLogs(Store(URL), f'corpus:="{corpus.name}"', slice_lines=7)
    answer = ask_source(small, since=at(10), until=at(50))
    assert answer.raws == lines[20:100]


@only_with_a_server
def test_lines_of_other_loggers_in_a_store() -> None:
    """A text keeps the store's time, a traceback stays whole, and JSON is a record."""
    corpus = Corpus("foreign")
    text = f"{at(1)} ERROR failed session_id=call-7\nTraceback (most recent call last):\n  File x\nValueError: no"
    other = json.dumps({"timestamp": at(2), "level": "warn", "msg": "slow", "session_id": "call-7"})
    corpus.push([text.encode(), other.encode()])
    first, second = ask_source(corpus.source, session="call-7").lines
    assert (first.record["error"]["type"], first.record["timestamp"]) == ("ValueError", at(1))
    assert (second.record["level"], second.record["message"]) == ("warn", "slow")


@only_with_a_server
def test_a_store_without_such_lines() -> None:
    """Nothing is returned, and that is no failure of the store."""
    answer = ask_source(Corpus("empty").source, session="call-7")
    assert (answer.raws, reasons(answer) & LOSSES) == ([], set())


# --- a double


class Double(ThreadingHTTPServer):
    """A server that answers each query as a test wants."""

    daemon_threads = True

    def __init__(self, answer: Callable[[str], tuple[int, bytes]], *, cut: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.cut = cut
        self.asked: list[str] = []
        self.seen_headers: list[Any] = []


class _Handler(BaseHTTPRequestHandler):
    server: Double

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        query = parse_qs(body.decode())["query"][0]
        self.server.asked.append(query)
        self.server.seen_headers.append(self.headers)
        status, data = self.server.answer(query)
        self.send_response(status)
        self.send_header("Content-Length", str(len(data) + (100 if self.server.cut else 0)))
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:1/")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def served() -> Iterator[Callable[..., Double]]:
    servers: list[Double] = []

    def serve(answer: Callable[[str], tuple[int, bytes]], **options: Any) -> Double:
        server = Double(answer, **options)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return server

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def source_at(server: Double, **options: Any) -> VictoriaLogs:
    url = f"http://127.0.0.1:{server.server_port}"
    return VictoriaLogs(Store(url, pauses_s=(), **options), pauses_s=(0.0, 0.0))


WINDOW = {"since": at(0), "until": at(100)}


def rows(lines: list[bytes]) -> bytes:
    return b"".join(
        json.dumps({"_msg": x.decode(), "_time": at(0)}).encode() + b"\n" for x in lines
    )


def counting(count: int, lines: list[bytes]) -> Callable[[str], tuple[int, bytes]]:
    def answer(query: str) -> tuple[int, bytes]:
        if "count()" in query:
            return 200, json.dumps({"n": str(count)}).encode()
        return 200, rows(lines)

    return answer


def test_rows_that_are_counted_and_not_returned_are_named(served: Callable[..., Double]) -> None:
    """A new stream's rows come late: they are asked for again, and then named."""
    lines = a_plane(3)
    server = served(counting(5, lines))
    answer = ask_source(source_at(server), **WINDOW)
    assert answer.raws == lines
    assert [d for _, r, d in answer.shortfalls if r == "not_settled"] == [
        "2 of 5 counted lines were not returned"
    ]
    assert sum("sort by" in query for query in server.asked) == 3


@pytest.mark.parametrize(
    ("status", "text", "reason"),
    [
        (400, b"cannot parse query", "unreachable"),
        (401, b"missing token", "forbidden"),
        (403, b"", "forbidden"),
        (302, b"", "unreachable"),
        (500, b"\xff broken", "unreachable"),
    ],
)
def test_a_refusal_is_a_reason(
    served: Callable[..., Double], status: int, text: bytes, reason: str
) -> None:
    """What the server says is shown; a redirect is not followed, as it would take the token along."""
    answer = ask_source(source_at(served(lambda _: (status, text))), **WINDOW)
    assert reasons(answer) == {reason}


def test_an_answer_that_is_cut_is_named(served: Callable[..., Double]) -> None:
    """The lines before the cut are returned or not; that there were more is said."""
    server = served(counting(3, a_plane(3)), cut=True)
    assert reasons(ask_source(source_at(server), **WINDOW)) == {"truncated"}


@pytest.mark.parametrize(
    "text", [b"<html>Sign in</html>", b'{"status":"ok"}', b"[]", b'"x"', b"null", b'{"n":"many"}']
)
@pytest.mark.parametrize("session", [None, "call-7"])
def test_an_answer_of_another_form_is_unreadable(
    served: Callable[..., Double], text: bytes, session: str | None
) -> None:
    """A proxy that sends a page for people with status 200 is named; nothing is taken for an empty answer."""
    source = source_at(served(lambda _: (200, text)))
    assert "unreadable" in reasons(ask_source(source, session=session, **WINDOW))


@pytest.mark.parametrize("status", [200, 202, 204])
@pytest.mark.parametrize("session", [None, "call-7"])
def test_empty_answer_is_unreadable(
    served: Callable[..., Double], status: int, session: str | None
) -> None:
    """The server sends a count also of no lines, so that an empty answer is that of a proxy."""
    source = source_at(served(lambda _: (status, b"")))
    assert "unreadable" in reasons(ask_source(source, session=session, **WINDOW))
    assert not check_source(source_at(served(lambda _: (status, b"")))).ok


def test_numbers_that_are_not_returned_are_read_as_lines(served: Callable[..., Double]) -> None:
    """Lines are counted in which a number is missing, but no numbers are returned: the lines are fetched."""
    lines = [line for n, line in enumerate(a_plane(30)) if n != 8]
    of_gateway = [line for line in lines if b"9f31c2aa" in line]
    counts = {"process": "b9f31c2aa", "lines": "14", "first": "1", "last": "15", "total": "115"}

    def answer(query: str) -> tuple[int, bytes]:
        if "stats by" in query:
            return 200, json.dumps(counts).encode()
        if "fields _time, process" in query:
            return 200, b""
        found = of_gateway if '"9f31c2aa"' in query else of_call_7(of_gateway)
        return counting(len(found), found)(query)

    answered = ask_source(source_at(served(answer)), session="call-7", **WINDOW)
    assert any(r == "gap" and "seq 5," in detail for _, r, detail in answered.shortfalls)


def test_no_server_is_unreachable() -> None:
    """The address is in the reason, a password is not."""
    source = VictoriaLogs(Store("http://user:pass@127.0.0.1:9", timeout_s=5.0))
    ((_, reason, detail),) = ask_source(source, **WINDOW).shortfalls
    assert (reason, "127.0.0.1:9" in detail, "pass" in detail) == ("unreachable", True, False)


def test_a_token_comes_from_the_environment(
    served: Callable[..., Double], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is sent as a bearer token, read at each request, and stands in no command that is shown."""
    monkeypatch.setenv("STORE_TOKEN", "t0ken")
    server = served(counting(1, a_plane(1)))
    source = source_at(server, token_env="STORE_TOKEN")
    ask_source(source, **WINDOW)
    assert {headers["Authorization"] for headers in server.seen_headers} == {"Bearer t0ken"}
    assert "t0ken" not in "".join(source.explain(Query()))


def test_a_session_cannot_change_the_query(served: Callable[..., Double]) -> None:
    """Quotes and backslashes are escaped, whatever the id holds."""
    server = served(counting(0, []))
    ask_source(source_at(server), session='a" or *', **WINDOW)
    assert all('or *"' not in query.replace('\\" or *"', "") for query in server.asked)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"url": "ftp://x"},
        {"url": "http://user:secret@x"},
        {"url": 5},
        {"url": "http://x", "filter": 5},
        {"url": "http://x", "account": "1"},
        {"url": "http://x", "project": True},
        {"url": "http://x", "limit": 5},
    ],
)
def test_a_wrong_description_of_a_store_is_refused(options: dict[str, Any]) -> None:
    """It is refused before anything is asked; a password belongs into the environment."""
    with pytest.raises(SettingsError):
        open_source(options)


# --- slices


@given(st.lists(st.integers(0, 60), max_size=40).map(sorted), st.integers(1, 9), st.integers(1, 64))
def test_slices_hold_each_line_once(moments: list[int], page: int, end: int) -> None:
    """Whatever stands at one moment: each line is there once, in order, or is named as truncated."""
    shortfalls: list[Any] = []

    def fetch(part: Slice) -> Page:
        found = [b"%d" % m for m in moments if part.begin <= m < part.end]
        return Page(found[:page], whole=len(found) < page)

    lines = list(read_slices(Slice(0, end), fetch, shortfalls))
    expected = [b"%d" % m for m in moments if m < end]
    crowded = {m for m in moments if m < end and moments.count(m) >= page}
    assert len(shortfalls) == len(crowded)
    assert [line for line in lines if int(line) not in crowded] == [
        line for line in expected if int(line) not in crowded
    ]


# --- rows


@given(
    st.dictionaries(
        st.sampled_from(
            ["boot", "seq", "_msg", "_time", "meta.a", "meta.a.b", "error.type", "raw"]
        ),
        st.text(max_size=20),
    )
)
def test_any_row_becomes_a_line(row: dict[str, str]) -> None:
    """A row of any fields becomes one line of JSON, or the text that it holds."""
    line = line_of(row)
    assert b"\n" not in line
    json.loads(line)
