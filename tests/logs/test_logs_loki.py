"""Lines in Loki: a strict double, and recorded exchanges of a real server where ``LOKI_RECORDINGS`` names them."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cordboard.contract.errors import CordboardError
from cordboard.logs.query import Query
from cordboard.logs.sources._http import Store
from cordboard.logs.sources._slices import line_of
from cordboard.logs.sources._store import STREAMS_MAX
from cordboard.logs.sources.loki import Limits, Loki, open_source
from logs.logs_support import (
    START,
    ask_source,
    at,
    encoded,
    lines_of_two_processes,
    reasons,
    record,
)
from logs.loki_double import SECOND, LokiDouble, values_of

T0 = int(START.timestamp()) * SECOND
SELECTOR = '{namespace="voice"}'
LABELS = {"namespace": "voice", "pod": "bot-a"}
RECORDINGS = Path(os.environ.get("LOKI_RECORDINGS") or "/nowhere")
only_with_recordings = pytest.mark.skipif(
    not RECORDINGS.is_dir(), reason="no recordings: LOKI_RECORDINGS is not set"
)


@pytest.fixture
def loki() -> Iterator[Callable[..., LokiDouble]]:
    servers: list[LokiDouble] = []

    def start(**limits: Any) -> LokiDouble:
        servers.append(LokiDouble(**limits))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def source_of(server: LokiDouble, **options: Any) -> Loki:
    source = open_source({"url": server.url, "selector": SELECTOR, **options})
    source.store.pauses_s = (0.0, 0.0)
    return source


def push(server: LokiDouble, lines: list[bytes], step_ns: int = SECOND // 2) -> None:
    """Store lines half a second apart, each process's in a stream of its own."""
    for n, line in enumerate(lines):
        labels = {**LABELS, "pod": f"bot-{n % 2}"}
        server.push([{"stream": labels, "values": [[str(T0 + n * step_ns), line.decode()]]}])


WINDOW = {"since": at(-10), "until": at(1000)}


@pytest.mark.parametrize("entries_max", [3, 7, 60, 61, 5000])
def test_a_window_is_whole_whatever_the_limit(
    loki: Callable[..., LokiDouble], entries_max: int
) -> None:
    """Nothing in an answer says that it was cut: parts are halved until they are below the limit."""
    server = loki(entries_max=entries_max)
    push(server, lines_of_two_processes())
    answer = ask_source(source_of(server), **WINDOW)
    assert answer.raws == lines_of_two_processes()
    assert reasons(answer) == set()


def test_more_lines_of_a_nanosecond_than_a_page_holds_are_named(
    loki: Callable[..., LokiDouble],
) -> None:
    """What cannot be halved is truncated; all else is there."""
    server = loki(entries_max=5)
    push(server, lines_of_two_processes(8), step_ns=0)
    assert reasons(ask_source(source_of(server), **WINDOW)) >= {"truncated"}


def test_a_session_in_loki_is_complete(loki: Callable[..., LokiDouble]) -> None:
    """Its processes' other lines are asked for as well, so that their numbers show no loss."""
    server = loki(entries_max=9)
    push(server, lines_of_two_processes())
    answer = ask_source(source_of(server), session="call-7", **WINDOW)
    assert answer.raws == [line for line in lines_of_two_processes() if b'"call-7"' in line]
    assert reasons(answer) == set()


def test_a_line_that_loki_never_got_is_a_gap(loki: Callable[..., LokiDouble]) -> None:
    """Also one of another session, said by the same process."""
    server = loki()
    push(server, [line for n, line in enumerate(lines_of_two_processes()) if n != 31])
    details = [
        d
        for _, r, d in ask_source(source_of(server), session="call-7", **WINDOW).shortfalls
        if r == "gap"
    ]
    assert [detail[:22] for detail in details] == ["boot 0badcafe: seq 16,"]


def test_a_long_window_is_asked_for_in_pieces(loki: Callable[..., LokiDouble]) -> None:
    """A longer one would be refused; a line at a seam is there once."""
    server = loki(length_s=10)
    push(server, lines_of_two_processes())
    answer = ask_source(source_of(server), since=at(0), until=at(100))
    assert answer.raws == lines_of_two_processes()
    assert len(server.asked) >= 10


def test_what_lies_before_the_lookback_is_named(loki: Callable[..., LokiDouble]) -> None:
    """Loki leaves it out silently, with status 200."""
    server = loki(lookback_s=3600)
    now = time.time_ns()
    server.push(
        [{"stream": LABELS, "values": [[str(now - 7200 * SECOND), "lost"], [str(now), "kept"]]}]
    )
    since = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(now / SECOND - 9000))
    answer = ask_source(source_of(server), since=since)
    assert answer.messages == ["kept"]
    assert reasons(answer) == {"starts_after_window", "not_settled"}


@pytest.mark.parametrize("session", [None, "call-7"])
def test_lookback_that_cuts_a_query_without_a_beginning_is_named(
    loki: Callable[..., LokiDouble], session: str | None
) -> None:
    """A query without `--since` asks for all lines of the session, and Loki leaves the oldest out."""
    server = loki(lookback_s=86_400)
    now = time.time_ns()
    for seq, hours in enumerate((48, 2, 1), 1):
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(now / SECOND - hours * 3600))
        line = encoded({**record(0, seq=seq, session="call-7"), "timestamp": stamp}).decode()
        values = [[str(now - hours * 3600 * SECOND), line]]
        server.push([{"stream": LABELS, "values": values}])
    answer = ask_source(source_of(server), session=session)
    assert len(answer.lines) == 2
    assert "starts_after_window" in reasons(answer)


@pytest.mark.parametrize(
    ("options", "since", "tells", "said"),
    [
        ({}, None, True, "Lines of the last 30 days were read"),
        ({"lookback": "36h"}, None, True, "Lines of the last 36 h were read"),
        ({}, at(0), True, "Limits: 50 lines a request, windows of 9 h, any time."),
        ({}, at(0), False, "Limits unknown"),
    ],
)
def test_bounds_of_a_query_are_in_the_coverage(
    loki: Callable[..., LokiDouble], options: Any, since: str | None, tells: bool, said: str
) -> None:
    """How far back is read without `--since`, and the limits, or that they are unknown."""
    server = loki(entries_max=50, length_s=9 * 3600)
    server.tells_limits = tells
    source = source_of(server, **options)
    notes = ask_source(source, since=since).coverage.notes
    assert [said in note for note in notes] == [True, False][: len(notes)]
    assert ("Lines of the last" in notes[0]) is (since is None)
    assert ("limits unknown" in " ".join(source.facts())) is not tells


@pytest.mark.parametrize("session", [None, "call-7"])
def test_requests_in_flight_are_bounded(
    loki: Callable[..., LokiDouble], session: str | None
) -> None:
    """Each stream of a store sends one request at a time: the session's, its Jobs', its pods'."""
    server = loki(entries_max=5)
    push(server, lines_of_two_processes())
    server.pause_s = 0.02
    ask_source(source_of(server), session=session, **WINDOW)
    assert len(server.asked) > STREAMS_MAX
    assert 1 <= server.most_in_flight <= (1 if session is None else STREAMS_MAX)


def test_a_busy_server_is_asked_again(loki: Callable[..., LokiDouble]) -> None:
    """429 and 503 are for a moment; one that stays busy is named."""
    server = loki()
    push(server, lines_of_two_processes(3))
    server.refusals = [429, 503]
    assert ask_source(source_of(server), **WINDOW).raws == lines_of_two_processes(3)
    server.refusals = [429] * 9
    assert reasons(ask_source(source_of(server), **WINDOW)) == {"unreachable"}


def test_following_returns_each_line_once_late_ones_too(
    loki: Callable[..., LokiDouble],
) -> None:
    """A line that is stored after newer ones is still found, and no line is returned twice."""
    server = loki()
    source = source_of(server)
    source.poll_s = 0.01
    (stream,) = source.streams(Query(follow=True))
    lines = stream.read(follow=True)
    began = time.time_ns()
    got: list[bytes] = []

    def store_when_asked(offset_s: float, text: str) -> None:
        server.push([{"stream": LABELS, "values": [[str(began + int(offset_s * SECOND)), text]]}])

    threading.Timer(0.2, store_when_asked, (0.5, "newer")).start()
    got.append(next(lines))
    store_when_asked(0.3, "late")
    got.append(next(lines))
    store_when_asked(0.6, "newest")
    got.append(next(lines))
    stream.close()
    assert list(lines) == []
    assert [json.loads(line)["log"] for line in got] == ["newer\n", "late\n", "newest\n"]


def test_following_goes_on_after_an_outage_and_loses_nothing(
    loki: Callable[..., LokiDouble],
) -> None:
    """What was stored while no request was answered is returned, however long that was; the reason is told meanwhile."""
    server = loki()
    source = source_of(server)
    source.poll_s, source.overlap_s = 0.01, 0.01
    (stream,) = source.streams(Query(follow=True))
    lines = stream.read(follow=True)
    got: list[bytes] = []
    reading = threading.Thread(target=lambda: got.extend(lines), daemon=True)
    reading.start()
    while not server.asked:
        time.sleep(0.01)
    server.refusals = [503] * 10_000
    server.push([{"stream": LABELS, "values": [[str(time.time_ns()), "meanwhile"]]}])
    while [why.reason for why in stream.shortfalls()] != ["unreachable"]:
        time.sleep(0.01)
    time.sleep(0.1)  # longer than each request reads again
    server.refusals = []
    while not got:
        time.sleep(0.01)
    stream.close()
    reading.join(20)
    assert [json.loads(line)["log"] for line in got] == ["meanwhile\n"]
    assert stream.shortfalls() == []


def test_a_tenant_is_sent(loki: Callable[..., LokiDouble]) -> None:
    """Another tenant, or none, is refused."""
    server = loki(tenant="team-a")
    push(server, lines_of_two_processes(3))
    assert ask_source(source_of(server, tenant="team-a"), **WINDOW).raws == lines_of_two_processes(
        3
    )
    assert reasons(ask_source(source_of(server), **WINDOW)) == {"forbidden"}


def test_basic_authentication(
    loki: Callable[..., LokiDouble], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Grafana Cloud takes a user and a token as the password."""
    monkeypatch.setenv("LOKI_TOKEN", "s3cret")
    server = loki()
    ask_source(source_of(server, user="12", token_env="LOKI_TOKEN"), **WINDOW)
    assert {headers["Authorization"] for headers in server.seen_headers} == {"Basic MTI6czNjcmV0"}


def test_an_answer_that_is_cut_is_truncated(loki: Callable[..., LokiDouble]) -> None:
    """A connection that ends in the middle gives no whole answer."""
    server = loki()
    push(server, lines_of_two_processes(9))
    server.cut = True
    assert reasons(ask_source(source_of(server), **WINDOW)) == {"truncated"}


@pytest.mark.parametrize(
    "text",
    [
        *("<html>Sign in</html>", '{"status":"ok"}', "[]", '"x"', "null"),
        '{"data":{"result":[{"stream":{},"values":[["soon","text"]]}]}}',
        '{"data":{"result":[{"stream":{},"values":[["1795428000000000000",5]]}]}}',
    ],
)
@pytest.mark.parametrize("session", [None, "call-7"])
def test_an_answer_of_another_form_than_lokis_is_unreadable(
    loki: Callable[..., LokiDouble], text: str, session: str | None
) -> None:
    """A proxy that sends a page for people with status 200 is named; nothing is taken for an empty answer."""
    server = loki()
    server.other = text
    assert "unreadable" in reasons(ask_source(source_of(server), session=session, **WINDOW))


def test_lines_of_other_loggers_keep_the_time_of_loki(loki: Callable[..., LokiDouble]) -> None:
    """Text has Loki's time to the microsecond; JSON has its own."""
    server = loki()
    texts = [[str(T0 + 5 * SECOND + 123456789), "ERROR it failed session_id=call-7"]]
    texts += [
        [str(T0 + 9 * SECOND), json.dumps({"time": at(8), "msg": "x", "session_id": "call-7"})]
    ]
    server.push([{"stream": LABELS, "values": texts}])
    found = ask_source(source_of(server), session="call-7", **WINDOW).lines
    assert [line.record["timestamp"][17:] for line in found] == ["05.123456Z", "08.000000Z"]
    assert found[0].record["level"] == "error"
    assert found[0].record["service"] == "127.0.0.1"


def test_explain_prints_the_command_of_loki() -> None:
    """It asks for the same session and window, and shows no secret."""
    source = open_source({"url": "http://loki:3100", "selector": SELECTOR})
    line, jobs, *counts = source.explain(Query(session="call-7", since=at(0)))
    assert "--from=2026-11-23T10:00:00.000000Z" in line
    assert '|= "call-7"' in line
    assert 'pod=~"bot-call-7-' in jobs
    assert [text.count("instant-query") for text in counts] == [1] * 4


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"url": "http://x"},
        {"url": "http://x", "selector": "{}"},
        {"url": "http://x", "selector": "voice"},
        {"url": "x", "selector": SELECTOR},
        {"url": "http://x", "selector": SELECTOR, "user": "u"},
        {"url": "http://x", "selector": SELECTOR, "tenant": 5},
        {"url": "http://x", "selector": SELECTOR, "lookback": "long"},
        {"url": "http://x", "selector": SELECTOR, "limit": "5"},
    ],
)
def test_a_wrong_description_of_loki_is_refused(options: dict[str, Any]) -> None:
    """It is refused before anything is asked."""
    with pytest.raises(CordboardError) as caught:
        open_source(options)
    assert caught.value.exit_code == 2


# --- recordings


def recorded(name: str) -> Any:
    return json.loads((RECORDINGS / f"{name}.json").read_text())


@only_with_recordings
@pytest.mark.parametrize(
    "name",
    [
        *("query-session", "query-limit-reached", "query-limit-exact", "query-forward-limit"),
        *("query-backward-limit", "query-end-exclusive", "query-start-equals-end", "query-empty"),
        *("query-one-nanosecond", "query-same-nanosecond-limit", "query-out-of-order"),
        *("query-session-substring-of-other", "query-limit-too-high"),
    ],
)
def test_the_double_answers_as_the_server_did(loki: Callable[..., LokiDouble], name: str) -> None:
    """Each recorded answer is that of the double, which holds what was pushed."""
    exchange = recorded(name)
    server = loki(entries_max=50 if exchange["server"] == "small" else 5000)
    for push_name in (
        *("push-json", "push-same-nanosecond", "push-identical-again", "push-out-of-order"),
        "push-out-of-order-again",
    ):
        server.push(recorded(push_name)["request"]["body"]["streams"])
    status, found = server.find(exchange["request"]["query"])
    assert status == exchange["response"]["status"]
    if status == 200:
        assert values_of(found) == values_of(exchange["response"]["body"])
    else:
        assert found == exchange["response"]["body"].strip()


class Replay(Store):
    """A store that answers with recordings, by path."""

    def __init__(self, **by_path: str) -> None:
        super().__init__("http://loki:3100")
        self.by_path = by_path

    def read(self, path: str, values: Any, *, post: bool = False) -> Iterator[bytes]:
        name = self.by_path[path.rpartition("/")[2].replace("-", "_")]
        response = recorded(name)["response"]
        if response["status"] != 200:
            from cordboard.logs.sources._slices import StoreError

            raise StoreError("unreachable", str(response["body"]), response["status"])
        body = response["body"]
        yield (body if isinstance(body, str) else json.dumps(body)).encode()


@only_with_recordings
@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ("limits", Limits(5000, 30 * 86_400 + 3_600, 0)),
        ("limits-small", Limits(50, 3_600, 7_200)),
        ("limits-no-tenant", Limits(5000, 30 * 86_400 + 3_600, 0)),
    ],
)
def test_the_limits_of_a_server_are_read(limits: str, expected: Limits) -> None:
    """From YAML, or from the JSON of the other address where the first refuses."""
    store = Replay(limits=limits, drilldown_limits="drilldown-limits")
    assert Loki(store, SELECTOR).limits() == expected


@only_with_recordings
@pytest.mark.parametrize(
    "name", ["query-session", "query-metadata-categorized", "query-json-categorized", "query-otlp"]
)
def test_recorded_answers_are_read(name: str) -> None:
    """Each value is a line, in the order of time, whatever stands beside it."""
    store = Replay(limits="limits", query_range=name)
    (stream,) = Loki(store, SELECTOR).streams(Query(since=at(0), until=at(1)))
    lines = b"".join(stream.read()).splitlines()
    found = values_of(recorded(name)["response"]["body"])
    assert sorted(lines) == sorted(line_of(int(moment), text) for moment, text in found)
    assert stream.shortfalls() == []


@only_with_recordings
@pytest.mark.parametrize("name", ["error-bad-regex", "query-too-long", "query-limit-too-high"])
def test_recorded_errors_are_reasons(name: str) -> None:
    """An error is text, also from an address of JSON; it is shown."""
    store = Replay(limits="limits", query_range=name)
    (stream,) = Loki(store, SELECTOR).streams(Query(since=at(0), until=at(1)))
    assert list(stream.read()) == []
    ((reason, detail),) = stream.shortfalls()
    assert reason == "unreachable"
    assert recorded(name)["response"]["body"].strip() in detail
