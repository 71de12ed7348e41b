"""Lines of other processes: as they are when they are records, raw when they are not."""

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


def test_a_record_keeps_its_time_boot_and_seq(lines: Lines) -> None:
    """A browser's record comes out as it is, in the order of the contract, without secrets."""
    assert emit.forward(record(meta={"token": "x", "n": 1}, event="join.clicked"))
    (found,) = lines()
    assert found == record(meta={"token": "[redacted]", "n": 1}, event="join.clicked")
    assert list(found) == [key for key in KEYS if key in found]


def test_a_record_too_long_is_cut(lines: Lines) -> None:
    """A record of another process keeps the limit, too."""
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
def test_what_is_no_record_is_refused(lines: Lines, changes: dict[str, Any]) -> None:
    """A record that breaks section 3 is refused with the reason, and nothing is written."""
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
def test_a_stranger_may_send_anything(changes: dict[str, Any], lacking: set[str]) -> None:
    """Whatever comes in the place of a record is refused with a reason, or is a valid line."""
    given = {key: value for key, value in record(**changes).items() if key not in lacking}
    with emit.capture() as caught:
        assert emit.forward(given) is (schema_error(given) is None)
    assert [schema_error(found) for found in caught] == [None] * len(caught)


@pytest.mark.parametrize("key", ["timestamp", "level", "sessionId", "boot", "seq", "userName"])
def test_a_missing_key_is_named(key: str) -> None:
    """The reason names the key that is missing."""
    lacking = record()
    del lacking[key]
    assert schema_error(lacking) == f"{key} is missing"


def test_a_childs_line_is_passed_on_byte_for_byte(lines: Lines) -> None:
    """An encoded line of a child is written as it is, with one newline."""
    line = msgspec.json.encode(record())
    assert emit.forward_line(line)
    assert emit.forward_line(line + b"\n")
    assert lines() == [record(), record()]


@pytest.mark.parametrize("line", [b"Traceback", b"\xff\xfe", b"{}", b'{"seq":', b"[1]", b"NaN"])
def test_a_line_that_is_no_record_is_raw(lines: Lines, line: bytes) -> None:
    """A half-written or foreign line is not lost: it is a raw line of its session."""
    assert not emit.forward_line(line, context=Context(session_id="call-7"), service="bot")
    (found,) = lines()
    assert found["raw"] is True
    assert (found["service"], found["sessionId"]) == ("bot", "call-7")
    assert schema_error(found) is None


def test_raw_output_is_a_record_of_its_session(lines: Lines) -> None:
    """A printed line is a record with raw, with the boot and seq of whoever captured it."""
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
