"""The same questions to a folder, to CRI files and to each store: the same bytes, and each loss by its name."""

import json
import os
import time
import urllib.request
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import pytest

from cordboard.contract.job_name import job_name
from cordboard.logs.query import Query
from cordboard.logs.sources import Source, cloudwatch, loki, victorialogs
from cordboard.logs.sources._aws import AwsLogs, Pacer
from cordboard.logs.sources._slices import Slice
from logs.cloudwatch_double import CloudWatchDouble
from logs.logs_support import (
    START,
    ask,
    ask_source,
    at,
    cri,
    encoded,
    reasons,
    record,
    write_lines,
)
from logs.loki_double import SECOND, LokiDouble

SERVER = os.environ.get("VICTORIALOGS_URL", "")
T0 = int(START.timestamp()) * SECOND
GATEWAY, BOT, ZEROS = "9f31c2aa", "0badcafe", "01234567"
LOSSES = {"gap", "truncated", "unreachable", "unreadable"}


def a_plane(count: int = 90) -> list[bytes]:
    """A gateway and a runner that serve three sessions, and the process of one bot."""
    numbers = dict.fromkeys((GATEWAY, BOT, ZEROS), 0)
    lines = []
    for n in range(count):
        boot, service = ((GATEWAY, "gateway"), (BOT, "bot"), (ZEROS, "runner"))[n % 3]
        numbers[boot] += 1
        session = "call-7" if service == "bot" else ("call-7", "call-8", "server:vm")[n // 3 % 3]
        if service == "bot" and n % 2:
            session = "server:vm"  # said outside of any session, by the process of one
        trace = {"traceId": f"{n:032x}"} if session == "call-7" and n % 4 == 0 else {}
        lines.append(
            bytes(encoded(record(
                n * 0.25, boot=boot, seq=numbers[boot], session=session, service=service,
                message=f"line {n}", **trace,
            )))
        )  # fmt: skip
    return lines


class Put(Protocol):
    """Stores lines, of a pod if one is named; returns the source that reads them."""

    def __call__(self, lines: list[bytes], *, pod: str = "") -> Source: ...


def moment_of(line: bytes) -> int:
    """The time of a record, or of a text with its time in front."""
    moment = json.loads(line)["timestamp"] if line[:1] == b"{" else line[:27].decode()
    seconds = (START.fromisoformat(moment) - START).total_seconds()
    return T0 + round(seconds * 10**6) * 1000


def as_fluent_bit(line: bytes, pod: str) -> str:
    """A line as aws-for-fluent-bit stores it."""
    text = {"log": f"{line.decode()}\n", "stream": "stdout", "kubernetes": {"pod_name": pod}}
    return json.dumps(text)


@pytest.fixture
def in_loki() -> Iterator[Put]:
    server = LokiDouble(entries_max=50)

    def put(lines: list[bytes], *, pod: str = "") -> Source:
        labels = {"namespace": "voice", **({"pod": pod} if pod else {})}
        for line in lines:
            values = [[str(moment_of(line)), line.decode()]]
            server.push([{"stream": labels, "values": values}])
        return loki.open_source({"url": server.url, "selector": '{namespace="voice"}'})

    put.server = server  # type: ignore[attr-defined]
    yield put
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def region() -> Iterator[CloudWatchDouble]:
    """A region, for all tests: the official client takes a second to be made."""
    server = CloudWatchDouble("/eks/voice")
    yield server
    server.shutdown()
    server.server_close()


@cache
def aws_logs(url: str) -> AwsLogs:
    return cloudwatch.open_source(
        {"groups": ["/eks/voice"], "region": "eu-central-1", "endpoint": url}
    ).logs


@pytest.fixture
def in_cloudwatch(region: CloudWatchDouble, monkeypatch: pytest.MonkeyPatch) -> Put:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    region.reset("/eks/voice")
    region.behaviour.page_events, region.behaviour.is_sparse = 17, True

    def put(lines: list[bytes], *, pod: str = "") -> Source:
        texts = [as_fluent_bit(line, pod) if pod else line.decode() for line in lines]
        moments = [moment_of(line) // 1_000_000 for line in lines]
        region.put("/eks/voice", zip(moments, texts, strict=True))
        logs = aws_logs(region.url)
        logs.pacer, logs.query_poll_s = Pacer(10_000), 0.0
        return cloudwatch.CloudWatch(logs, ["/eks/voice"])

    return put


@pytest.fixture
def in_victorialogs() -> Put:
    if not SERVER:
        pytest.skip("no server: VICTORIALOGS_URL is not set")
    corpus = f"stores-{time.time_ns()}"

    def put(lines: list[bytes], *, pod: str = "") -> Source:
        values = [[str(moment_of(line)), line.decode()] for line in lines]
        labels = {"corpus": corpus, **({"pod": pod} if pod else {})}
        body = {"streams": [{"stream": labels, "values": values}]}
        request = urllib.request.Request(
            f"{SERVER}/insert/loki/api/v1/push",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=20).read()
        return victorialogs.open_source({"url": SERVER, "filter": f'corpus:="{corpus}"'})

    return put


@pytest.fixture(params=["in_loki", "in_cloudwatch", "in_victorialogs"])
def put(request: pytest.FixtureRequest) -> Put:
    """Stores lines; returns the source that reads them."""
    stored: Put = request.getfixturevalue(request.param)
    return stored


WINDOW: dict[str, Any] = {"since": at(-10), "until": at(1000)}


def test_session_has_the_same_bytes_in_a_folder_in_cri_files_and_in_each_store(
    put: Put, tmp_path: Path
) -> None:
    """With the lines that belong to it without its id; nothing is missing anywhere."""
    lines = a_plane()
    write_lines(tmp_path / "plain" / "all.jsonl", lines)
    wrapped = [piece for n, line in enumerate(lines) for piece in cri(line, n * 0.25)]
    write_lines(tmp_path / "pods" / "0.log", wrapped)
    answers = [
        ask(tmp_path / "plain", session="call-7", **WINDOW),
        ask(tmp_path / "pods", session="call-7", **WINDOW),
        ask_source(put(lines), session="call-7", **WINDOW),
    ]
    assert any(line.attribution == "inferred" for line in answers[0].lines)
    assert [answer.raws for answer in answers] == [answers[0].raws] * 3
    assert [reasons(answer) & LOSSES for answer in answers] == [set()] * 3
    assert not any("pods" in answer.name for answer in answers[2].coverage.answers)


def test_lines_of_other_sessions_are_counted_and_not_read(put: Put) -> None:
    """The count, the lowest and the highest number of a process prove that none is missing."""
    source = put(a_plane())
    stream, *_ = source.streams(Query(session="call-7", **WINDOW))
    read = b"".join(stream.read())
    assert read.count(b'"call-7"') > 20
    assert b"call-8" not in read
    assert {boot: len(runs) for boot, runs in stream.proven().items()} == {
        GATEWAY.encode(): 1,
        ZEROS.encode(): 1,
        BOT.encode(): 1,
    }


@pytest.mark.parametrize("lost", [[45], [27, 30, 33], [45, 60], [5]])
def test_lost_lines_are_named_with_their_numbers_and_times(put: Put, lost: list[int]) -> None:
    """Whichever session they were of; a bot's process is read whole, the others are counted."""
    lines = a_plane()
    answer = ask_source(
        put([line for n, line in enumerate(lines) if n not in lost]), session="call-7", **WINDOW
    )
    gaps = [detail for _, reason, detail in answer.shortfalls if reason == "gap"]
    numbers = {(json.loads(lines[n])["boot"], json.loads(lines[n])["seq"]) for n in lost}
    named = {(gap[5:13], number) for gap in gaps for number in range(*_bounds(gap))}
    assert named == numbers
    assert all(", between 2026-11-23T10:00:" in gap for gap in gaps)


def _bounds(gap: str) -> tuple[int, int]:
    first, _, last = gap.partition("seq ")[2].partition(",")[0].partition(" to ")
    return int(first), int(last or first) + 1


def test_window_that_begins_within_a_second_raises_no_alarm(put: Put) -> None:
    """Some stores count whole seconds; what they count beyond the window is not missing from it."""
    answer = ask_source(put(a_plane()), session="call-7", since=at(3.6), until=at(17.4))
    assert answer.raws
    assert not reasons(answer) & LOSSES


def test_loss_at_the_end_of_the_session_is_named_by_a_line_long_after_it(put: Put) -> None:
    """A process that served others only later tells by its next number; its losses after the session do not count."""
    said = [
        (1, GATEWAY, 1, "call-7"),
        (3, ZEROS, 1, "call-7"),
        (30, GATEWAY, 3, "call-8"),
        (40, GATEWAY, 6, "call-8"),
    ]
    lines = [
        encoded(record(moment, boot=boot, seq=seq, session=session))
        for moment, boot, seq, session in said
    ]
    answer = ask_source(put(lines), session="call-7", **WINDOW)
    gaps = [detail for _, reason, detail in answer.shortfalls if reason == "gap"]
    assert [gap.partition(",")[0] for gap in gaps] == [f"boot {GATEWAY}: seq 2"]


def test_lines_that_stand_twice_hide_no_loss_and_are_none(put: Put) -> None:
    """A copy counts in some stores: the numbers themselves are then asked for."""
    lines = a_plane()
    source = put([*lines, *lines[30:40]])
    assert not reasons(ask_source(source, session="call-7", **WINDOW)) & LOSSES


def test_copy_beside_a_loss_hides_it_nowhere(put: Put) -> None:
    """One line too many and one too few are not complete, though the count fits."""
    lines = a_plane()
    lines[45] = lines[54].replace(b'54"', b'54 again"')  # no store takes it for a copy
    answer = ask_source(put(lines), session="call-7", **WINDOW)
    gaps = [detail for _, reason, detail in answer.shortfalls if reason == "gap"]
    assert [gap[:22] for gap in gaps] == [f"boot {GATEWAY}: seq 16,"]


def test_line_that_was_numbered_before_and_timed_behind_is_no_loss(put: Put) -> None:
    """Threads of a process may number lines in another order than they time them."""
    lines = a_plane()
    late = json.loads(lines[45])
    late["timestamp"] = at(22.25 + 20)  # behind the session's last line
    lines[45] = encoded(late)
    assert not reasons(ask_source(put(lines), session="call-7", **WINDOW)) & LOSSES


def test_pods_of_the_sessions_jobs_are_read_whole(put: Put) -> None:
    """Lines without any id: nobody but the Job's pod tells whose they are. Another session's pod is not read."""
    text = f"{at(5)} WARNING a library without an id".encode()
    said = record(4, boot="77777777", session="call-7", service="runner", message="Started")
    put([encoded(said), text], pod=f"{job_name('call-7', 3)}-x7k2p")
    put([text.replace(b"without an id", b"elsewhere")], pod=f"{job_name('call-8', 1)}-aaaaa")
    answer = ask_source(put(a_plane()), session="call-7", **WINDOW)
    (line,) = [line for line in answer.lines if "library" in line.record["message"]]
    assert line.record["message"].endswith("without an id")
    assert (line.attribution, line.inferred_from) == (
        "inferred",
        "the stream contains no other session",
    )
    assert not reasons(answer) & LOSSES
    assert "Lost" not in str(answer.coverage.notes)


@pytest.mark.parametrize("is_shared", [False, True])
def test_pod_whose_bot_speaks_of_the_session_alone_is_read_whole(
    put: Put, *, is_shared: bool
) -> None:
    """Whatever its name is; one that speaks of another session in that time proves nothing."""
    text = f"{at(5)} WARNING a library without an id".encode()
    said = [
        record(4, boot="77777777", session="call-7", service="bot", message="Started"),
        record(6, boot="77777777", seq=2, session="server:vm", service="bot", message="Loaded"),
        record(7, boot="66666666", session="call-8" if is_shared else "call-7", service="bot"),
    ]
    put([*map(encoded, said[:1]), text, *map(encoded, said[1:])], pod="voice-0.a")
    answer = ask_source(put(a_plane()), session="call-7", **WINDOW)
    found = [line for line in answer.lines if "library" in line.record["message"]]
    assert len(found) == (0 if is_shared else 1)
    assert not reasons(answer) & LOSSES


def test_text_that_only_mentions_the_session_is_not_inferred(put: Put) -> None:
    """A store is asked for lines of one session: that no other one stands among them proves nothing."""
    text = f"{at(5)} GET /sessions/call-7/events 200".encode()
    said = record(4, boot="77777777", session="call-7", service="runner", message="Started")
    answer = ask_source(put([encoded(said), text]), session="call-7", **WINDOW)
    assert answer.messages == ["Started"]


def test_error_while_the_pods_are_read_is_named(in_loki: Any) -> None:
    """It is no error of the other stream, which may have ended before."""
    source = in_loki(a_plane())
    main, jobs, _ = source.streams(Query(session="call-7", **WINDOW))
    assert b"".join(main.read())
    main.close()
    in_loki.server.cut = True
    assert list(jobs.read()) == []
    assert (main.shortfalls(), [why.reason for why in jobs.shortfalls()]) == ([], ["truncated"])


def test_stream_of_pods_that_ends_first_ends_no_other_one(in_loki: Any) -> None:
    """It has nothing to read where the lines' own times lie outside of the window."""
    source = in_loki(a_plane())
    main, jobs, _ = source.streams(Query(session="call-7", since=at(-1000), until=at(-500)))
    source.store.close = lambda: pytest.fail("the requests of the other stream are ended")
    reading = main.read()
    main.near.set_result(Slice(0, 0))
    assert list(jobs.read()) == []
    jobs.close()
    reading.close()


def test_line_that_the_store_has_and_does_not_return_is_named_as_that(in_loki: Any) -> None:
    """It is lost on the way here, not on the way to the store: of a bot's process all lines are counted, too."""
    source = in_loki(a_plane())
    in_loki.server.drops = lambda text, _: '"boot":"0badcafe","seq":12}' in text
    answer = ask_source(source, session="call-7", **WINDOW)
    assert [(reason, detail) for _, reason, detail in answer.shortfalls if reason in LOSSES] == [
        ("truncated", "boot 0badcafe: seq 12 in the store, but not returned")
    ]


def test_line_that_is_returned_once_and_not_again_is_named(in_loki: Any) -> None:
    """The session's own lines are read twice; what an answer drops the second time was there."""
    source = in_loki(a_plane())
    in_loki.server.drops = lambda text, number: number > 2 and f'"{GATEWAY}","seq":10}}' in text
    answer = ask_source(source, session="call-7", **WINDOW)
    assert [(reason, detail) for _, reason, detail in answer.shortfalls if reason in LOSSES] == [
        ("truncated", f"boot {GATEWAY}: seq 10 in the store, but not returned")
    ]


def test_store_that_counts_copies_raises_no_alarm(in_loki: Any) -> None:
    """Loki counts a line twice that came again after a flush, and returns it once."""
    in_loki.server.copies = 2
    assert not reasons(ask_source(in_loki(a_plane()), session="call-7", **WINDOW)) & LOSSES


def test_process_whose_lines_the_store_cannot_count_is_read_whole(in_loki: Any) -> None:
    """Within Docker's JSON Loki sees no number."""
    source = in_loki([])
    for n, line in enumerate(a_plane()):
        if n != 45:
            text = json.dumps({"log": f"{line.decode()}\n", "stream": "stdout", "time": at(n / 4)})
            values = [[str(moment_of(line)), text]]
            in_loki.server.push([{"stream": {"namespace": "voice"}, "values": values}])
    gaps = [
        d for _, r, d in ask_source(source, session="call-7", **WINDOW).shortfalls if r == "gap"
    ]
    assert [gap[:22] for gap in gaps] == [f"boot {GATEWAY}: seq 16,"]


def test_user_who_may_not_count_reads(in_cloudwatch: Put, region: CloudWatchDouble) -> None:
    """Insights may be forbidden where FilterLogEvents is not; the processes are then read whole."""
    source = in_cloudwatch(a_plane())
    region.behaviour.query_end = "Failed"
    answer = ask_source(source, session="call-7", **WINDOW)
    assert answer.raws
    assert not reasons(answer) & LOSSES
