"""Lines in the wrappings of container runtimes, agents and stores: the same records, each once."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cordboard.logs.blocks import Block
from cordboard.logs.bulk import without_carrier
from cordboard.logs.formats.wrappers import number_of, unwrap
from logs.logs_support import ask, at, encoded, record, write_lines

Wrap = Callable[[bytes, float], bytes]


def dumped(value: Any, *, spaced: bool = False) -> bytes:
    """JSON as Go's and Rust's encoders write it, or with white space."""
    separators = (", ", ": ") if spaced else (",", ":")
    return json.dumps(value, ensure_ascii=False, separators=separators).encode()


def nanoseconds(seconds: float) -> str:
    return f"{at(seconds)[:-1]}123Z"


def cri(line: bytes, seconds: float) -> bytes:
    return f"{nanoseconds(seconds)} stdout F ".encode() + line


def docker(line: bytes, seconds: float) -> bytes:
    return dumped({"log": f"{line.decode()}\n", "stream": "stdout", "time": nanoseconds(seconds)})


def docker_in_other_order(line: bytes, seconds: float) -> bytes:
    kept = {"time": nanoseconds(seconds), "stream": "stdout", "log": f"{line.decode()}\n"}
    return dumped(kept, spaced=True)


def fluent_bit(line: bytes, seconds: float) -> bytes:
    return dumped({"date": 1795942800.5 + seconds, "log": f"{line.decode()}\n", "stream": "stdout"})


def container_insights(line: bytes, seconds: float) -> bytes:
    pod = {"pod_name": "bot-1", "namespace_name": "voice", "container_name": "bot"}
    kept = {"time": nanoseconds(seconds), "stream": "stdout", "_p": "F", "log": line.decode()}
    return dumped({**kept, "kubernetes": pod})


def merged_log(line: bytes, seconds: float) -> bytes:
    pod = {"pod_name": "bot-1"}
    return dumped({"log": "", "log_processed": json.loads(line), "kubernetes": pod})


def merged_at_root(line: bytes, seconds: float) -> bytes:
    return dumped({"kubernetes": {}, "stream": "stdout", **dict(sorted(json.loads(line).items()))})


def fargate(line: bytes, seconds: float) -> bytes:
    return dumped({"log": cri(line, seconds).decode()})


def vector(line: bytes, seconds: float) -> bytes:
    kept = {"file": "/var/log/pods/x/0.log", "kubernetes": {}, "message": line.decode()}
    return dumped({**kept, "source_type": "kubernetes_logs", "timestamp": nanoseconds(seconds)})


def vector_parsed(line: bytes, seconds: float) -> bytes:
    return dumped({"message": json.loads(line), "source_type": "kubernetes_logs"})


def filelog(line: bytes, seconds: float) -> bytes:
    return dumped({"body": line.decode(), "attributes": {"log.file.name": "0.log"}, "resource": {}})


def otlp_body(line: bytes, seconds: float) -> bytes:
    return dumped({"timeUnixNano": "1795942800500000000", "body": {"stringValue": line.decode()}})


def google_cloud(line: bytes, seconds: float) -> bytes:
    payload = dict(sorted(json.loads(line).items()))
    payload["seq"] = float(payload["seq"])  # a protobuf Struct has no integers
    return dumped({"insertId": "x", "jsonPayload": payload, "timestamp": nanoseconds(seconds)})


def google_cloud_text(line: bytes, seconds: float) -> bytes:
    return dumped(
        {"insertId": "x", "textPayload": line.decode(), "timestamp": nanoseconds(seconds)}
    )


def victorialogs(line: bytes, seconds: float) -> bytes:
    return dumped({"_time": nanoseconds(seconds), "_stream": "{}", "_msg": line.decode()})


def elasticsearch(line: bytes, seconds: float) -> bytes:
    source = {"@timestamp": nanoseconds(seconds), "message": line.decode(), "ecs": {}}
    return dumped({"_index": "logs", "_id": "x", "_source": source})


def elasticsearch_parsed(line: bytes, seconds: float) -> bytes:
    source = {"@timestamp": nanoseconds(seconds), "agent": {}, **json.loads(line)}
    return dumped({"_index": "logs", "_id": "x", "_source": source})


def datadog(line: bytes, seconds: float) -> bytes:
    kept = {"attributes": json.loads(line), "host": "node-1", "status": "info"}
    return dumped({"id": "AQ", "type": "log", "attributes": kept})


def split(line: bytes) -> tuple[dict[str, Any], str, str]:
    """A record without its time and its message, and both."""
    value = json.loads(line)
    return value, value.pop("timestamp"), value.pop("message")


def google_cloud_lifted(line: bytes, seconds: float) -> bytes:
    value, moment, message = split(line)
    return dumped({"jsonPayload": value, "timestamp": moment, "message": message})


def google_cloud_without_time(line: bytes, seconds: float) -> bytes:
    value, moment, message = split(line)
    return dumped({"jsonPayload": {**value, "message": message}, "timestamp": moment})


def datadog_remapped(line: bytes, seconds: float) -> bytes:
    value, moment, message = split(line)
    kept = {"attributes": value, "message": message, "timestamp": moment, "status": "info"}
    return dumped({"id": "AQ", "type": "log", "attributes": kept})


def elasticsearch_dated(line: bytes, seconds: float) -> bytes:
    value, moment, message = split(line)
    source = {"@timestamp": moment, "message": message, **value}
    return dumped({"_index": "logs", "_id": "x", "_source": source})


def elasticsearch_original(line: bytes, seconds: float) -> bytes:
    source = {"@timestamp": nanoseconds(seconds), "event": {"original": line.decode()}}
    return dumped({"_index": "logs", "_id": "x", "_source": source})


def datadog_text(line: bytes, seconds: float) -> bytes:
    kept = {"message": line.decode(), "host": "node-1", "timestamp": nanoseconds(seconds)}
    return dumped({"id": "AQ", "type": "log", "attributes": kept})


def splunk_export(line: bytes, seconds: float) -> bytes:
    kept = {"_raw": line.decode(), "_time": nanoseconds(seconds), "sourcetype": "bot"}
    return dumped({"preview": False, "offset": 0, "result": kept})


def container_log_v2(line: bytes, seconds: float) -> bytes:
    return dumped({"LogMessage": line.decode(), "TimeGenerated": nanoseconds(seconds)})


def container_log_v2_parsed(line: bytes, seconds: float) -> bytes:
    return dumped({"LogMessage": json.loads(line), "TimeGenerated": nanoseconds(seconds)})


def container_log(line: bytes, seconds: float) -> bytes:
    return dumped({"LogEntry": line.decode(), "TimeGenerated": nanoseconds(seconds)})


def container_app(line: bytes, seconds: float) -> bytes:
    return dumped({"Log_s": line.decode(), "time_t": nanoseconds(seconds)})


def logcli(line: bytes, seconds: float) -> bytes:
    kept = {"labels": {"app": "bot"}, "line": line.decode(), "timestamp": nanoseconds(seconds)}
    return dumped(kept)


def cloudwatch_export(line: bytes, seconds: float) -> bytes:
    return dumped({"@timestamp": nanoseconds(seconds), "@message": line.decode()})


def aws_tail(line: bytes, seconds: float) -> bytes:
    return f"{at(seconds)[:-1]}+00:00 ecs/bot/0123456789abcdef ".encode() + line


def awslogs(line: bytes, seconds: float) -> bytes:
    return b"/ecs/voice ecs/bot/0123456789abcdef " + line


def journald(line: bytes, seconds: float) -> bytes:
    kept = {"__REALTIME_TIMESTAMP": "1795942805123456", "PRIORITY": "6", "MESSAGE": line.decode()}
    return dumped({**kept, "_SYSTEMD_UNIT": "bot.service"})


def rfc3164(line: bytes, seconds: float) -> bytes:
    return b"<14>Nov 29 09:00:00 host-1 bot[77]: " + line


def logcli_text(line: bytes, seconds: float) -> bytes:
    return f'{at(seconds)} {{app="bot", pod="bot-1"}} '.encode() + line


def rfc5424_with_data(line: bytes, seconds: float) -> bytes:
    data = '[ex@32473 a="{b"]'
    return f"<14>1 {at(seconds)} host-1 bot 77 - {data} \ufeff".encode() + line


def rfc5424(line: bytes, seconds: float) -> bytes:
    return f"<14>1 {at(seconds)} host-1 bot 77 - - ".encode() + line


def syslog_file(line: bytes, seconds: float) -> bytes:
    return f"{at(seconds)[:-1]}+00:00 host-1 bot[77]: ".encode() + line


def compose(line: bytes, seconds: float) -> bytes:
    return b"gateway-1  | " + line


def stern(line: bytes, seconds: float) -> bytes:
    return b"gateway-5d8f gateway " + line


def kubectl_prefix(line: bytes, seconds: float) -> bytes:
    return b"[pod/gateway-5d8f/gateway] " + line


def coloured(line: bytes, seconds: float) -> bytes:
    return b"\x1b[1;32m" + line + b"\x1b[0m"


def indented(line: bytes, seconds: float) -> bytes:
    return b"\t  " + line + b" "


TEXTS: list[Wrap] = [
    *(cri, docker, docker_in_other_order, fluent_bit, container_insights, fargate, vector, filelog),
    *(otlp_body, logcli, cloudwatch_export, aws_tail, awslogs, journald, rfc3164, rfc5424),
    *(syslog_file, compose, stern, kubectl_prefix, google_cloud_text, victorialogs, elasticsearch),
    *(logcli_text, rfc5424_with_data, coloured, indented, elasticsearch_original, datadog_text),
    *(splunk_export, container_log_v2, container_log, container_app),
]
"""Wrappings that keep the text of a line."""

OBJECTS: list[Wrap] = [
    merged_log,
    merged_at_root,
    vector_parsed,
    google_cloud,
    datadog,
    elasticsearch_parsed,
    container_log_v2_parsed,
    google_cloud_lifted,
    google_cloud_without_time,
    datadog_remapped,
    elasticsearch_dated,
]
"""Wrappings that keep the decoded object, in whatever order."""

texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)
values = st.one_of(texts, st.integers(-9, 9), st.booleans(), st.none(), st.lists(texts, max_size=2))
records = st.builds(
    record,
    st.floats(0, 1000),
    boot=st.from_regex(r"[0-9a-f]{8}", fullmatch=True),
    seq=st.integers(1, 10**6),
    session=st.sampled_from(["call-7", "server:vm"]),
    message=texts,
    meta=st.dictionaries(texts, values, max_size=2),
)


def in_our_encoding(value: dict[str, Any]) -> bytes:
    """A record as the emitter encodes it: without what parts lines or steers a terminal."""
    line = bytes(encoded(value))
    return line.replace("\u2028".encode(), b"\\u2028").replace("\u2029".encode(), b"\\u2029")


@settings(max_examples=300, deadline=None)
@given(records, st.sampled_from([*TEXTS, *OBJECTS]), st.none() | st.sampled_from(TEXTS))
def test_a_wrapped_line_is_the_same_line(
    value: dict[str, Any], inner: Wrap, outer: Wrap | None
) -> None:
    """Any line of ours, in any wrapping, and in any second wrapping: the same bytes."""
    line = in_our_encoding(value)
    wrapped = inner(line, 0)
    if outer is not None:
        wrapped = outer(wrapped, 0)
    assert unwrap(wrapped).text == line
    assert number_of(wrapped) == (value["boot"].encode(), value["seq"])


def a_call(count: int = 40) -> list[bytes]:
    return [
        encoded(record(n, boot="9f31c2aa", seq=n + 1, session="call-7", message=f"line {n} é"))
        for n in range(count)
    ]


@pytest.mark.parametrize("wrap", [*TEXTS, *OBJECTS])
def test_a_session_in_a_wrapping_is_complete(tmp_path: Path, wrap: Wrap) -> None:
    """A query finds each line of the session, byte for byte, and no number is missing."""
    lines = a_call()
    write_lines(tmp_path / "gateway.log", [wrap(line, n) for n, line in enumerate(lines)])
    answer = ask(tmp_path, session="call-7")
    assert answer.raws == lines
    assert not [reason for _, reason, _ in answer.shortfalls if reason == "gap"]


@pytest.mark.parametrize("wrap", [*TEXTS, *OBJECTS])
def test_a_line_that_a_carrier_lost_is_named(tmp_path: Path, wrap: Wrap) -> None:
    """The numbers of wrapped lines prove a loss, as those of bare lines do."""
    kept = [(n, line) for n, line in enumerate(a_call()) if n != 20]
    write_lines(tmp_path / "gateway.log", [wrap(line, n) for n, line in kept])
    answer = ask(tmp_path, session="call-7")
    assert [detail for _, reason, detail in answer.shortfalls if reason == "gap"] != []


def test_copies_in_several_wrappings_are_one_line(tmp_path: Path) -> None:
    """What a node, an agent and a store hold of one line is printed once."""
    lines = a_call(10)
    for wrap in (cri, container_insights, google_cloud, rfc5424):
        name = f"gateway-{wrap.__name__}.log"
        write_lines(tmp_path / name, [wrap(line, n) for n, line in enumerate(lines)])
    assert ask(tmp_path, session="call-7").raws == lines


FOREIGN = {"level": "error", "msg": "call failed", "session_id": "call-7"}


@pytest.mark.parametrize("wrap", [fluent_bit, container_insights, vector, compose, kubectl_prefix])
def test_other_loggers_lines_in_a_wrapping_are_records(tmp_path: Path, wrap: Wrap) -> None:
    """A JSON object of another logger keeps its level and its session behind a carrier."""
    write_lines(tmp_path / "app.log", [wrap(dumped(FOREIGN), 1)])
    (line,) = ask(tmp_path, session="call-7").lines
    assert (line.record["level"], line.record["message"]) == ("error", "call failed")


def test_an_object_that_says_something_itself_is_the_line() -> None:
    """JSON that a logger wrote into its own message is no line in a carrier."""
    line = dumped({"level": "info", "session_id": "call-7", "message": '{"step":1}'})
    assert unwrap(line).text == line


@pytest.mark.parametrize(
    "line",
    [
        b'{"boot":"9f31c2aa","seq":1}',
        b'{"message":"{\\"timestamp\\":","stream":"stdout"}',
        b'{"log":5,"stream":"stdout","boot":1,"seq":true}',
        b'{"log":"x","stream":"stdout"',
        b'{"log":"","stream":[]}',
        b'{"log":"","stream":{"stdout":1},"_p":["P"],"logtag":{}}',
        b"INFO | no line",
        b'{"boot":"b","seq":1e400}',
        b'{"message":' * 3000,
    ],
)
def test_what_only_looks_like_a_wrapping_stays(line: bytes) -> None:
    """Nothing is taken for a carrier that holds no line."""
    assert unwrap(line).text == line


def test_pieces_of_an_agent_are_put_together(tmp_path: Path) -> None:
    """Fluent Bit hands pieces of a long line on, and marks them."""
    line = a_call(1)[0]
    pieces = [
        dumped({"stream": "stdout", "_p": flag, "log": text.decode()})
        for flag, text in (("P", line[:50]), ("P", line[50:90]), ("F", line[90:]))
    ]
    write_lines(tmp_path / "gateway.log", pieces)
    assert ask(tmp_path, session="call-7").raws == [line]


# --- whole blocks

WHOLE: list[Wrap] = [cri, docker]
"""Carriers that are removed from a block at once."""


def piece_of_docker(text: str, stamp: str, *, last: bool) -> bytes:
    end = "\n" if last else ""
    return dumped({"log": f"{text}{end}", "stream": "stdout", "time": stamp})


def piece_in_other_order(text: str, stamp: str, *, last: bool) -> bytes:
    end = "\n" if last else ""
    return dumped({"stream": "stdout", "log": f"{text}{end}", "time": stamp})


def piece_with_white_space(text: str, stamp: str, *, last: bool) -> bytes:
    end = "\n" if last else ""
    return dumped({"log": f"{text}{end}", "stream": "stdout", "time": stamp}, spaced=True)


def piece_of_agent(text: str, stamp: str, *, last: bool) -> bytes:
    kept = {"time": stamp, "stream": "stdout", "_p": "F" if last else "P", "log": text}
    return dumped(kept, spaced=True)


def piece_of_fargate(text: str, stamp: str, *, last: bool) -> bytes:
    return dumped({"log": f"{stamp} stdout {'F' if last else 'P'} {text}", "container_id": "c"})


def piece_of_cri(text: str, stamp: str, *, last: bool) -> bytes:
    return f"{stamp} stdout {'F' if last else 'P'} {text}".encode()


@pytest.mark.parametrize(
    "piece",
    [
        *(piece_of_docker, piece_in_other_order, piece_with_white_space),
        *(piece_of_agent, piece_of_fargate, piece_of_cri),
    ],
)
@pytest.mark.parametrize("first", [b"", b"a line of another program", b'{"log":"x"}'])
@pytest.mark.parametrize("cut", [-4, 0, 3, 8])
@pytest.mark.parametrize("size", [1 << 20, 2_000])
def test_pieces_are_found_wherever_a_line_was_cut(
    tmp_path: Path, piece: Callable[..., bytes], first: bytes, cut: int, size: int
) -> None:
    """A line that was cut in its id is found among lines of other sessions, whatever the carrier writes."""

    def pieces(n: int, session: str, cut: int | None = None) -> list[bytes]:
        text = json.dumps({"time": at(n), "msg": f"said {n}", "sessionId": session, "n": "x" * 30})
        if cut is None:
            return [piece(text, nanoseconds(n), last=True)]
        middle = text.index(session) + cut
        parts = (text[:middle], text[middle:])
        return [piece(part, nanoseconds(n), last=last) for last, part in enumerate(parts)]

    lines = [first] if first else []
    for n in range(30):
        lines += pieces(n, f"call-other-{n}", 3 if n % 3 == 0 else None)
        if n in {5, 15, 25}:
            lines += pieces(n + 100, "call-wanted-7", cut if n == 15 else None)
    write_lines(tmp_path / "web.log", lines)
    answer = ask(tmp_path, block_bytes=size, session="call-wanted-7")
    assert answer.messages == ["said 105", "said 115", "said 125"]


def a_block(lines: Sequence[bytes]) -> Block:
    data = b"".join(line + b"\n" for line in lines)
    return Block(data, len(data), 0)


odd_texts = st.text(max_size=12) | st.sampled_from(['\\"', "\\\\", "<b>&", "\\u003c", "\n", "\x1b"])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(odd_texts, min_size=1, max_size=5),
    st.sampled_from(WHOLE),
    st.sampled_from([None, b"plain", b"{}", b'{"log":"x\\n","stream":"stdout","time":"t"}']),
)
def test_a_block_is_unwrapped_as_its_lines_are(
    messages: list[str], wrap: Wrap, other: bytes | None
) -> None:
    """Whatever the lines hold, and whatever stands between them: the same bytes, or the block stays."""
    lines = [
        wrap(msgspec.json.encode(record(n, seq=n + 1, message=text)), n)
        for n, text in enumerate(messages)
    ]
    bare = [unwrap(line).text for line in lines]
    if other is not None:
        lines.insert(1, other)
        bare.insert(1, other)
    block = a_block(lines)
    found = without_carrier(block)
    if found is not block:
        assert found.data == a_block(bare).data


def test_a_block_of_usual_lines_is_unwrapped() -> None:
    """The quick way is taken for what a node usually holds, backslashes and Go's escapes included."""
    for wrap in WHOLE:
        messages = ["said", 'a "quoted" \\ text', "1 < 2 & 3"]
        own = [bytes(encoded(record(n, message=text))) for n, text in enumerate(messages)]
        wrapped = [wrap(line, n) for n, line in enumerate(own)]
        go = [line.replace(b"<", b"\\u003c") if wrap is docker else line for line in wrapped]
        others = [b"plain", *(wrap(b"INFO: said", n) for n in range(2)), b""]
        assert without_carrier(a_block(go + others)).data == a_block(own + others).data


@pytest.mark.parametrize("wrap", [*WHOLE, lambda line, _: line])
@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize("level", ["info", "error"])
def test_a_traceback_among_many_of_our_lines(
    tmp_path: Path, level: str, others: int, wrap: Wrap
) -> None:
    """Behind an error it is the error's; behind another line it is a record of its own."""
    lines = [bytes(encoded(record(n, seq=n + 1, session="call-7"))) for n in range(100)]
    lines[50] = bytes(encoded(record(50, seq=51, level=level, session="call-7")))
    trace = [b"Traceback (most recent call last):", b'  File "x"', b"ValueError: no"]
    before = [b"INFO: GET /healthz"] * others
    said = [*lines[:50], *before, lines[50], *trace, *lines[51:]]
    write_lines(tmp_path / "gateway.log", [wrap(line, n) for n, line in enumerate(said)])
    found = ask(tmp_path).lines
    assert len(found) == others + (100 if level == "error" else 101)
    own = [line.raw for line in found if line.raw.startswith(b"{")]
    assert [line.raw for line in ask(tmp_path, session="call-7").lines[:100]] == own
    assert [line.record["error"]["type"] for line in found if "error" in line.record] == [
        "ValueError"
    ]
