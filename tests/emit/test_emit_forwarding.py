"""Lines of other processes: records are written as they are, and other lines as raw lines."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cordboard import emit
from cordboard.context import Context
from cordboard.contract.record import KEYS
from cordboard.emit.forwarding import schema_error

Lines = Callable[[], list[dict[str, Any]]]


def record(**changes: Any) -> dict[str, Any]:
    return {
        "seq": 5,
        "boot": "0123abcd",
        "timestamp": "2026-11-23T10:11:12.123456Z",
        "level": "info",
        "message": "Clicked",
        "service": "browser",
        "tag": "page",
        "sessionId": "call-7",
        "userId": None,
        "userName": None,
        **changes,
    }


def test_forwarded_record_keeps_time_boot_and_seq(lines: Lines) -> None:
    """A browser's record is written with its values, keys in their order, and without secrets."""
    assert emit.forward(record(meta={"token": "x", "n": 1}, event="join.clicked"))
    (written,) = lines()
    assert written == record(meta={"token": "[redacted]", "n": 1}, event="join.clicked")
    assert list(written) == [key for key in KEYS if key in written]


def test_forwarded_record_that_is_too_long_is_truncated(lines: Lines) -> None:
    """A record of another process is limited as well."""
    assert emit.forward(record(message="m" * 9000, meta={"a": "x" * 9000}))
    assert lines()[0]["truncated"] is True


@pytest.mark.parametrize(
    "changes",
    [
        {"level": "WARN"}, {"timestamp": "now"}, {"seq": 0}, {"seq": True}, {"seq": 1.5},
        {"boot": "XYZ"}, {"extra": 1}, {"meta": []}, {"message": 3}, {"sessionId": None},
        {"level": []}, {"raw": []}, {"raw": False}, {"epoch": "3"}, {"error": "text"}, {"userId": 5}, {"seq": 2**70},
    ],
)  # fmt: skip
def test_record_with_a_schema_error_is_not_written(lines: Lines, changes: dict[str, Any]) -> None:
    """A record that violates the schema is refused with the reason."""
    assert schema_error(record(**changes))
    assert not emit.forward(record(**changes))
    assert lines() == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=5,
)


@pytest.mark.cordboard_log_exempt("forwards session ids and events that no service may say")
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.dictionaries(st.sampled_from(KEYS), JSON, max_size=6),
    st.sets(st.sampled_from(KEYS), max_size=2),
)
def test_any_input_is_refused_or_written_as_a_valid_line(
    changes: dict[str, Any], lacking: set[str]
) -> None:
    """Whatever is passed as a record, there is a reason for its refusal or a valid line."""
    given = {key: value for key, value in record(**changes).items() if key not in lacking}
    with emit.capture() as caught:
        assert emit.forward(given) is (schema_error(given) is None)
    assert [schema_error(written) for written in caught] == [None] * len(caught)


@pytest.mark.parametrize("key", ["timestamp", "level", "sessionId", "boot", "seq", "userName"])
def test_schema_error_names_the_missing_key(key: str) -> None:
    """The reason contains the key that is missing."""
    lacking = record()
    del lacking[key]
    assert schema_error(lacking) == f"{key} is missing"


def test_childs_line_is_written_byte_for_byte(lines: Lines) -> None:
    """The encoded line of a child is written unchanged, with one newline."""
    line = msgspec.json.encode(record())
    assert emit.forward_line(line)
    assert emit.forward_line(line + b"\n")
    assert lines() == [record(), record()]


@pytest.mark.parametrize("line", [b"Traceback", b"\xff\xfe", b"{}", b'{"seq":', b"[1]", b"NaN"])
def test_line_that_is_not_a_record_becomes_a_raw_line(lines: Lines, line: bytes) -> None:
    """A partial line, or one of another format, is not lost: it becomes a raw line of its session."""
    assert not emit.forward_line(line, context=Context(session_id="call-7"), service="bot")
    (written,) = lines()
    assert written["raw"] is True
    assert (written["service"], written["sessionId"]) == ("bot", "call-7")
    assert schema_error(written) is None


def test_raw_line_carries_the_session_of_its_process(lines: Lines) -> None:
    """A printed line becomes a record with raw, and with boot and seq of the process that captured it."""
    context = Context(session_id="call-7", user_id="u")
    emit.raw("plain \x1b[31mred\n", service="bot", context=context)
    emit.raw("Segmentation fault", service="bot", context=context, tag="stderr")
    emit.raw("x" * 100_000, service="bot", context=context)
    plain, fault, long = lines()
    assert plain["message"] == "plain \x1b[31mred"
    assert (plain["tag"], plain["level"], fault["tag"], fault["level"]) == (
        "stdout", "info", "stderr", "warn",
    )  # fmt: skip
    assert plain["userId"] == "u"
    assert plain["boot"] == fault["boot"]
    assert plain["seq"] + 1 == fault["seq"]
    assert len(msgspec.json.encode(long)) <= 16 * 1024
