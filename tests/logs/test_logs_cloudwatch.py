"""Lines in CloudWatch Logs: a strict double, asked by the official client."""

import json
import re
import threading
import time
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordboard.contract.errors import SettingsError
from cordboard.logs.query import Query
from cordboard.logs.sources._aws import ATTEMPTS_MAX, AwsLogs, Pacer
from cordboard.logs.sources.cloudwatch import CloudWatch, open_source, patterns
from logs.cloudwatch_double import CloudWatchDouble, RefusalError
from logs.logs_support import (
    START,
    ask_source,
    at,
    lines_of_two_processes,
    reasons,
)

GROUP = "/eks/voice"
T0_MS = int(START.timestamp()) * 1000
WINDOW = {"since": at(-10), "until": at(1000)}
LONG = {"since": at(-2 * 86_400), "until": at(1000)}


@pytest.fixture(scope="module")
def region() -> Iterator[CloudWatchDouble]:
    """A region, for all tests: the official client takes a second to be made."""
    server = CloudWatchDouble(GROUP)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def cloud(region: CloudWatchDouble, monkeypatch: pytest.MonkeyPatch) -> CloudWatchDouble:
    """A region with one log group, and credentials for it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    region.reset(GROUP)
    return region


@cache
def client_of(url: str) -> AwsLogs:
    """Return a client of a region, as `open_source` makes it."""
    return opened(url).logs


def opened(url: str, **options: Any) -> CloudWatch:
    return open_source(
        {
            "groups": [GROUP],
            "region": "eu-central-1",
            "endpoint": url,
            "requests_per_second": 10_000,
            **options,
        }
    )


def source_of(
    server: CloudWatchDouble, groups: Sequence[str] = (GROUP,), **options: Any
) -> CloudWatch:
    logs = client_of(server.url)
    logs.pacer = Pacer(10_000)  # as at the start, whatever the last test refused
    logs.query_poll_s = 0.0
    return CloudWatch(logs, groups, **options)


def put(server: CloudWatchDouble, lines: list[bytes], step_ms: int = 500) -> None:
    server.put(GROUP, [(T0_MS + n * step_ms, line.decode()) for n, line in enumerate(lines)])


@pytest.mark.parametrize(
    ("is_sparse", "is_repeating"), [(False, False), (True, False), (True, True)]
)
def test_window_is_whole_whatever_the_pages(
    cloud: CloudWatchDouble, *, is_sparse: bool, is_repeating: bool
) -> None:
    """Neither an empty page nor a token that comes twice ends the reading; only an answer without a token does."""
    cloud.behaviour.is_sparse, cloud.behaviour.is_repeating = is_sparse, is_repeating
    put(cloud, lines_of_two_processes())
    for page_events in (1, 7, 59, 60, 10_000):
        cloud.behaviour.page_events = page_events
        answer = ask_source(source_of(cloud), **WINDOW)
        assert answer.raws == lines_of_two_processes()
        assert reasons(answer) == set()


def test_pages_that_end_by_their_bytes_are_read_on(cloud: CloudWatchDouble) -> None:
    """A page of a megabyte may hold a few events only."""
    cloud.behaviour.page_bytes = 600
    put(cloud, lines_of_two_processes())
    assert ask_source(source_of(cloud), **WINDOW).raws == lines_of_two_processes()
    assert len(cloud.asked) > 10


def test_session_is_complete_with_the_lines_of_its_processes(cloud: CloudWatchDouble) -> None:
    """Lines of the same processes that name another session are asked for, so that numbers prove completeness."""
    put(cloud, lines_of_two_processes())
    answer = ask_source(source_of(cloud), session="call-7", **WINDOW)
    assert answer.raws == [line for line in lines_of_two_processes() if b'"call-7"' in line]
    assert reasons(answer) == set()


def test_events_of_the_same_millisecond_are_all_read(cloud: CloudWatchDouble) -> None:
    """No page begins at a time: a client that goes on at `timestamp + 1` loses the rest."""
    cloud.behaviour.page_events = 3
    put(cloud, lines_of_two_processes(), step_ms=0)
    assert sorted(ask_source(source_of(cloud), **WINDOW).raws) == sorted(lines_of_two_processes())


def test_lost_line_is_a_gap(cloud: CloudWatchDouble) -> None:
    """Also one of another session, written by the same process."""
    put(cloud, [line for n, line in enumerate(lines_of_two_processes()) if n != 31])
    answer = ask_source(source_of(cloud), session="call-7", **WINDOW)
    details = [detail for _, reason, detail in answer.shortfalls if reason == "gap"]
    assert [detail[:22] for detail in details] == ["boot 0badcafe: seq 16,"]


def test_long_window_of_a_session_is_a_query_whose_count_proves_it(cloud: CloudWatchDouble) -> None:
    """Logs Insights scans two days at once."""
    put(cloud, lines_of_two_processes())
    answer = ask_source(source_of(cloud), session="call-7", **LONG)
    assert answer.raws == [line for line in lines_of_two_processes() if b'"call-7"' in line]
    assert {operation for operation, _ in cloud.asked} >= {"StartQuery", "GetQueryResults"}
    assert reasons(answer) == set()


def test_query_with_more_records_than_rows_is_halved(
    cloud: CloudWatchDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Insights returns the first rows and says nothing; the number of matches says it."""
    monkeypatch.setattr("logs.cloudwatch_double.QUERY_ROWS_MAX", 4)
    put(cloud, lines_of_two_processes())
    answer = ask_source(source_of(cloud), session="call-7", **LONG)
    assert answer.raws == [line for line in lines_of_two_processes() if b'"call-7"' in line]
    assert reasons(answer) == set()


def test_second_with_more_records_than_rows_is_named(
    cloud: CloudWatchDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be halved is truncated; the rest is there."""
    monkeypatch.setattr("logs.cloudwatch_double.QUERY_ROWS_MAX", 4)
    cloud.put(GROUP, [(T0_MS, f"text {n} of call-7") for n in range(9)])
    assert "truncated" in reasons(ask_source(source_of(cloud), session="call-7", **LONG))


def test_query_that_fails_is_named(cloud: CloudWatchDouble) -> None:
    """A query ends after an hour at the latest."""
    cloud.behaviour.query_end = "Timeout"
    put(cloud, lines_of_two_processes())
    assert "truncated" in reasons(ask_source(source_of(cloud), session="call-7", **LONG))


def test_no_query_is_started_where_insights_is_off(cloud: CloudWatchDouble) -> None:
    """A query is paid by what it scans."""
    put(cloud, lines_of_two_processes())
    answer = ask_source(source_of(cloud, may_query=False), session="call-7", **LONG)
    assert answer.raws == [line for line in lines_of_two_processes() if b'"call-7"' in line]
    assert {operation for operation, _ in cloud.asked} == {"FilterLogEvents"}


def test_throttled_request_is_repeated(cloud: CloudWatchDouble) -> None:
    """The quota is shared with everything else that reads in the account; one that stays exceeded is named."""
    put(cloud, lines_of_two_processes(3))
    source = source_of(cloud)
    cloud.behaviour.throttled = 2
    assert ask_source(source, **WINDOW).raws == lines_of_two_processes(3)
    cloud.behaviour.throttled = ATTEMPTS_MAX
    assert reasons(ask_source(source_of(cloud), **WINDOW)) == {"unreachable"}


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (RefusalError("AccessDeniedException", "User: u is not authorized to perform: logs:FilterLogEvents"), "forbidden"),
        (RefusalError("UnrecognizedClientException", "The security token is invalid."), "forbidden"),
        (RefusalError("ExpiredTokenException", "The security token is expired"), "forbidden"),
        (RefusalError("InvalidOperationException", "not supported for this log group class"), "unreadable"),
        (RefusalError("InternalFailure", "", 500), "unreachable"),
    ],
)  # fmt: skip
def test_refusal_is_named_with_its_reason(
    cloud: CloudWatchDouble, refusal: RefusalError, reason: str
) -> None:
    """The words of the service are the detail."""
    cloud.behaviour.refusal = refusal
    answer = ask_source(source_of(cloud), **WINDOW)
    assert reasons(answer) == {reason}
    assert any(refusal.code in detail for _, _, detail in answer.shortfalls)


def test_missing_group_and_missing_server_are_named(cloud: CloudWatchDouble) -> None:
    """The other group is read all the same."""
    put(cloud, lines_of_two_processes(3))
    answer = ask_source(source_of(cloud, groups=("/gone", GROUP)), **WINDOW)
    assert answer.raws == lines_of_two_processes(3)
    assert [(name, reason) for name, reason, _ in answer.shortfalls] == [("/gone", "group_missing")]
    away = opened("http://127.0.0.1:1")
    assert reasons(ask_source(away, **WINDOW)) == {"unreachable"}


def test_missing_credentials_are_named(
    cloud: CloudWatchDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The detail names the way out."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    answer = ask_source(opened(cloud.url), **WINDOW)
    assert reasons(answer) == {"forbidden"}
    assert any("Sign in" in detail for _, _, detail in answer.shortfalls)


def test_window_that_ends_now_is_not_settled(cloud: CloudWatchDouble) -> None:
    """Events arrive late; a window that ended long ago is complete."""
    cloud.put(GROUP, [(int(time.time() * 1000) - 5000, "just now")])
    since = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(time.time() - 60))
    answer = ask_source(source_of(cloud), since=since)
    assert (answer.messages, reasons(answer)) == (["just now"], {"not_settled"})


def test_following_returns_each_event_once_late_ones_too(cloud: CloudWatchDouble) -> None:
    """Two events with the same text and time are two; one that arrives late is found."""
    source = source_of(cloud)
    source.poll_s = 0.01
    (stream,) = source.streams(Query(follow=True))
    lines = stream.read(follow=True)
    began = int(time.time() * 1000)

    def store(offset_ms: int, text: str) -> None:
        cloud.put(GROUP, [(began + offset_ms, text)])

    threading.Timer(0.2, store, (100, "newer")).start()
    texts = [json.loads(next(lines))["log"]]
    store(50, "late")
    texts.append(json.loads(next(lines))["log"])
    store(100, "newer")
    texts.append(json.loads(next(lines))["log"])
    stream.close()
    assert list(lines) == []
    assert texts == ["newer\n", "late\n", "newer\n"]


IDS = st.from_regex(r"(?!\.+\Z)[A-Za-z0-9._~:@-]{1,128}", fullmatch=True)


@given(st.lists(IDS, min_size=1, max_size=40))
def test_patterns_find_each_id_and_keep_the_services_rules(ids: list[str]) -> None:
    """A pattern has at most 1,024 characters and only those that AWS permits; together they miss no id."""
    expressions = patterns(ids)
    for expression in expressions:
        assert len(expression) <= 1024
        assert re.fullmatch(r"%(?:[A-Za-z0-9:_#=@/;,|.-]|\\\.)*%", expression)
    for one in ids:
        assert any(re.search(expression[1:-1], f'x"{one}"y') for expression in expressions)


def test_requests_are_spaced_and_slow_down_when_refused() -> None:
    """A refusal halves the rate; answers raise it again, up to the limit."""
    now, pauses = [0.0], list[float]()

    def sleep(seconds: float) -> None:
        pauses.append(round(seconds, 3))
        now[0] += seconds

    pacer = Pacer(2.0, sleep=sleep, clock=lambda: now[0])
    for _ in range(3):
        pacer.wait()
    assert pauses == [0.5, 0.5]
    pacer.refused()
    pacer.wait()
    pacer.wait()
    assert pauses[-1] == 1.0
    for _ in range(50):
        pacer.answered()
    assert pacer.rate_per_s == 2.0


def test_source_tells_its_key_its_rate_and_its_clock(cloud: CloudWatchDouble) -> None:
    """The id of an access key is no secret."""
    source = opened(cloud.url)
    ask_source(source, **WINDOW)
    assert source.facts() == (
        "as the access key AKIATEST (env) in eu-central-1",
        "limits: 10000 requests a second",
        "its clock agrees with this machine's",
    )


def test_equivalent_commands_are_those_of_the_aws_command_line(cloud: CloudWatchDouble) -> None:
    """Each can be pasted into a shell."""
    commands = source_of(cloud).explain(
        Query(session="call.7", since=WINDOW["since"], until=WINDOW["until"])
    )
    assert commands[:1] == [
        (
            f"aws logs filter-log-events --log-group-name {GROUP} --start-time {T0_MS - 10_000} "
            rf"--end-time {T0_MS + 999_999} --filter-pattern '%call\.7%'"
        )
    ]
    assert "start-query" in commands[1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "groups"),
        ({"groups": []}, "groups"),
        ({"groups": "x"}, "groups"),
        ({"groups": [1]}, "groups"),
        ({"groups": ["g"], "regoin": "x"}, "regoin"),
        ({"groups": ["g"], "region": 1}, "region"),
        ({"groups": ["g"], "insights": "no"}, "insights"),
        ({"groups": ["g"], "requests_per_second": 0}, "requests_per_second"),
        ({"groups": ["g"], "requests_per_second": True}, "requests_per_second"),
        ({"groups": ["g"], "profile": "no-such-profile"}, "no-such-profile"),
    ],
)
def test_invalid_options_are_errors_of_the_settings(options: dict[str, Any], words: str) -> None:
    """Before anything is asked."""
    with pytest.raises(SettingsError, match=words):
        open_source(options)


@pytest.mark.parametrize(
    ("operation", "answer"),
    [
        ("FilterLogEvents", {}),
        ("FilterLogEvents", {"events": [{"message": "x"}]}),
        ("StartQuery", {}),
        ("GetQueryResults", {}),
        ("GetQueryResults", {"status": "Complete", "results": []}),
        ("GetQueryResults", {"status": "Complete", "results": [], "statistics": {}}),
    ],
)
def test_answer_of_another_form_is_unreadable(
    cloud: CloudWatchDouble, operation: str, answer: dict[str, Any]
) -> None:
    """The official client takes any answer of a proxy for one without fields."""
    cloud.other = {operation: answer}
    window = WINDOW if operation == "FilterLogEvents" else LONG
    source = opened(cloud.url)
    assert "unreadable" in reasons(ask_source(source, session="call-7", **window))


@pytest.mark.parametrize("since", [None, at(0)])
def test_default_lookback_is_in_the_coverage(cloud: CloudWatchDouble, since: str | None) -> None:
    """A query without `--since` reads the last 14 days."""
    notes = ask_source(source_of(cloud), since=since).coverage.notes
    assert ["last 14 days" in note for note in notes] == ([] if since else [True])
