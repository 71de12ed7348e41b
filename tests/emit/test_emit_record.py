"""The format of a line, whatever is logged."""

import datetime as dt
import json
import math
import re
import threading
from collections.abc import Callable
from decimal import Decimal
from enum import IntEnum
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cordboard import emit
from cordboard.contract.record import KEYS, LINE_MAX_BYTES, REQUIRED_KEYS, TIMESTAMP_CHARS
from cordboard.emit.forwarding import schema_error
from cordboard.emit.pipeline import pipeline

Lines = Callable[[], list[dict[str, Any]]]
log = emit.get_logger("gateway")


def line_of(action: Callable[[], object]) -> bytes:
    """Return the line, as bytes, that an action writes."""
    caught: list[bytes] = []
    pipeline.add_observer(caught.append)
    try:
        with emit.capture():
            action()
    finally:
        pipeline.remove_observer(caught.append)
    assert len(caught) == 1, caught
    return caught[0]


def parsed(line: bytes) -> dict[str, Any]:
    """Parse a line as strictly as any reader; return its record."""
    assert line.endswith(b"\n")
    assert b"\n" not in line[:-1]
    assert len(line) <= LINE_MAX_BYTES
    record: dict[str, Any] = json.loads(line.decode("utf-8"), parse_constant=pytest.fail)
    assert msgspec.json.decode(line) == record
    assert schema_error(record) is None
    assert len(record["timestamp"]) == TIMESTAMP_CHARS
    assert [key for key in KEYS if key in record] == list(record)
    return record


def test_line_has_the_documented_keys_in_order(lines: Lines) -> None:
    """A full record has every documented key, in order, and no other; only processes of a cell name one."""
    with emit.session_context(
        session_id="call-7", user_id="u-1", user_name="Ada", room="webrtc:standup", epoch=3,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ):  # fmt: skip
        line = line_of(
            lambda: log.error(
                "Join accepted", event="join.accepted", reused=False, error=ValueError("no")
            )
        )
    record = parsed(line)
    assert list(record) == [key for key in KEYS if key not in {"raw", "truncated", "cell"}]
    assert line.startswith(b'{"timestamp":"')
    assert record["error"]["type"] == "ValueError"
    assert record["traceId"] == "0af7651916cd43dd8448eb211c80319c"
    assert record["spanId"] == "b7ad6b7169203331"


def test_absent_values_are_not_written() -> None:
    """Without a session the id is the server's, users are null, and optional keys are missing."""
    record = parsed(line_of(lambda: log.info("Ready")))
    assert tuple(record) == REQUIRED_KEYS
    assert record["sessionId"].startswith("server:")
    assert record["userId"] is None
    assert record["userName"] is None


def test_timestamp_is_the_time_of_the_call(lines: Lines) -> None:
    """It is in UTC, to the microsecond."""
    before = dt.datetime.now(dt.UTC)
    log.info("Now")
    after = dt.datetime.now(dt.UTC)
    text = lines()[0]["timestamp"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", text)
    slack = dt.timedelta(microseconds=1)
    assert before - slack <= dt.datetime.fromisoformat(text) <= after


def test_seq_counts_from_one_without_gaps(lines: Lines) -> None:
    """The sequence number grows by one with each line of a boot."""
    for _ in range(200):
        log.info("Again")
    records = lines()
    first = records[0]["seq"]
    assert [record["seq"] for record in records] == list(range(first, first + 200))
    assert len({record["boot"] for record in records}) == 1


def test_mapping_as_message_is_a_type_error(lines: Lines) -> None:
    """The error explains how to pass metadata."""
    with pytest.raises(TypeError, match="first argument is the message"):
        log.info({"reused": False})  # type: ignore[arg-type]


def test_bind_returns_a_new_logger(lines: Lines) -> None:
    """It adds to each record of the new logger; a keyword of a call overrides it."""
    bound = log.bind(runner="r-1", attempt=1)
    bound.info("Bound", attempt=2)
    log.info("Plain")
    first, second = lines()
    assert first["meta"] == {"runner": "r-1", "attempt": 2}
    assert "meta" not in second


def test_disabled_level_writes_nothing(lines: Lines) -> None:
    """A lower threshold enables it again, for every logger."""
    with emit.capture("warn") as caught:
        log.debug("no")
        log.info("no")
        log.warn("yes")  # noqa: G010
        log.warning("yes")
        log.error("yes")
    log.debug("yes again")
    assert [record["level"] for record in caught] == ["warn", "warn", "error"]
    assert [record["message"] for record in lines()] == ["yes again"]


def test_exception_logs_the_exception_being_handled(lines: Lines) -> None:
    """log.exception writes its type, message and stack."""
    try:
        vars(Broken)["lost"]
    except KeyError:
        log.exception("Lookup failed", table="rooms")
    (record,) = lines()
    assert record["level"] == "error"
    assert record["error"]["type"] == "KeyError"
    assert "test_emit_record.py" in record["error"]["stack"]


def test_exception_among_the_keywords_becomes_the_error(lines: Lines) -> None:
    """It is written as ``error``, not in ``meta``."""
    log.warning("Retrying", cause=TimeoutError("slow"), attempt=2)
    (record,) = lines()
    assert record["error"]["type"] == "TimeoutError"
    assert record["meta"] == {"attempt": 2}


class Broken:
    """Raises in ``__str__`` and ``__repr__``."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class Number(IntEnum):
    ONE = 1


class Words(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError("no str")


SELF: list[Any] = []
SELF.append(SELF)
KNOT: dict[str, Any] = {"a": 1}
KNOT["self"] = KNOT


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ({1}, "{1}"),
        (b"\x00\xff", "b'\\x00\\xff'"),
        (dt.datetime(2026, 1, 2, tzinfo=dt.UTC), repr(dt.datetime(2026, 1, 2, tzinfo=dt.UTC))),
        (dt.date(2026, 1, 2), "datetime.date(2026, 1, 2)"),
        (UUID(int=1), repr(UUID(int=1))),
        (Decimal("1.5"), "Decimal('1.5')"),
        (Number.ONE, 1),
        (Words("text"), "text"),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (2**80, 2**80),
        (1 << 20_000, hex(1 << 20_000)[:8192] + "…"),
        ("\ud800", "\\ud800"),
        ("line\nbreak\u2028and\x1b[31m", "line\nbreak\u2028and\x1b[31m"),
        ((1, (2, [3])), [1, [2, [3]]]),
        (SELF, ["[recursive]"]),
        (KNOT, {"a": 1, "self": "[recursive]"}),
        (Broken(), "<Broken whose repr raised RuntimeError>"),
        ({1: "a", None: "b"}, {"1": "a", "None": "b"}),
        ({"nested": {"deep": {1}}}, {"nested": {"deep": "{1}"}}),
        (range(3), "range(0, 3)"),
        (None, None),
        (Path("/tmp"), repr(Path("/tmp"))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_value_is_written_as_json_or_repr(value: object, written: object) -> None:
    """A value that JSON cannot represent is written as its repr."""
    actual = parsed(line_of(lambda: log.info("Value", value=value)))["meta"]["value"]
    if isinstance(written, str) and written.endswith("…"):
        assert actual.startswith(written[:-1])
    else:
        assert actual == written


METHODS = (
    "__repr__", "__str__", "__len__", "__iter__", "__getitem__", "keys", "items", "__class__",
    "__hash__", "__eq__", "__bool__", "__format__", "__getattribute__", "__float__", "__int__",
    "isascii", "encode", "bit_length",
)  # fmt: skip


def hostile(base: type, method: str) -> object:
    """Return a value of a type of which one method raises."""

    def bad(*_: object) -> None:
        raise RuntimeError("bad")

    spoilt = property(bad) if method == "__class__" else bad
    kind: Any = type("Hostile", (base,), {method: spoilt})
    given: dict[type, tuple[Any, ...]] = {
        dict: ({"a": 1},),
        int: (3,),
        float: (1.5,),
        bytes: (b"x",),
    }
    return kind(*given.get(base, ("x",) if base is not object else ()))


@pytest.mark.cordboard_log_exempt("says events that are none of the contract's")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "base", [object, dict, list, str, int, float, tuple, set, bytes, Exception, frozenset]
)
def test_type_with_a_raising_method_gives_one_line(base: type, method: str) -> None:
    """As a value, an error, an event or the message."""
    value: Any = hostile(base, method)
    calls: list[Callable[[], object]] = [
        lambda: log.info("v", value=value),
        lambda: log.info("v", value=[{"a": (value,)}]),
        lambda: log.info("v", error=value),
        lambda: log.info("v", event=value),
    ]
    if not issubclass(type(value), dict):
        calls.append(lambda: log.info(value))
    for call in calls:
        record = parsed(line_of(call))
        assert record["message"] != "A log record could not be written"


def test_mapping_that_changes_meanwhile_gives_one_line(lines: Lines) -> None:
    """Another thread may fill a mapping while it is written."""
    shared: dict[str, int] = {}
    stop = threading.Event()

    def fill() -> None:
        while not stop.is_set():
            for i in range(40):
                shared[f"key{i}"] = i
            shared.clear()

    thread = threading.Thread(target=fill)
    thread.start()
    for _ in range(2000):
        log.info("Shared", shared=shared)
    stop.set()
    thread.join()
    assert {record["message"] for record in lines()} == {"Shared"}


def test_numpy_scalar_is_written_as_a_number() -> None:
    """Arrays are written as their repr."""
    numpy = pytest.importorskip("numpy")
    meta = parsed(
        line_of(
            lambda: log.info("N", a=numpy.float32(1.5), b=numpy.int64(7), c=numpy.array([1, 2]))
        )
    )["meta"]
    assert meta == {"a": 1.5, "b": 7, "c": "array([1, 2])"}


@pytest.mark.parametrize(
    "values",
    [
        {"text": "x" * 3_000_000},
        {"text": '"' * 100_000},
        {"text": "\x00" * 100_000},
        {"text": "é" * 100_000},
        {"many": list(range(100_000))},
        {"deep": [[[[[[[[[[[["x" * 90_000]]]]]]]]]]]]},
        {"wide": [[[[list(range(30))] * 30] * 30] * 30] * 30},
        {"numbers": set(range(100_000))},
        {"frames": b"\xff" * 1_000_000},
        {"number": 1 << 65_000},
        {f"key{i}" * 20: "y" * 500 for i in range(300)},
        {"rows": [{"k" * 100 + str(j): "\x01" * 200 for j in range(50)} for _ in range(50)]},
    ],
)
def test_no_line_is_longer_than_16_kib(values: dict[str, Any]) -> None:
    """A record that is too long is truncated, valid, and marked."""
    record = parsed(line_of(lambda: log.info("Long", **values)))
    assert record["truncated"] is True
    assert len(json.dumps(record["meta"])) > 1000  # and not more is cut than must be


def test_record_that_fits_is_not_truncated(lines: Lines) -> None:
    """Long texts, many items and deep structures are complete if they fit into 16 KiB."""
    deep: Any = "bottom"
    for _ in range(30):
        deep = [deep]
    values = {"text": "x" * 9000, "numbers": list(range(1000)), "deep": deep}
    log.info("Whole", **values)
    (record,) = lines()
    assert record["meta"] == values
    assert "truncated" not in record


@pytest.mark.cordboard_log_exempt("an event too long is none of the contract's")
def test_record_with_every_field_too_long_is_valid() -> None:
    """Message, meta, error, event and context may all be too long."""

    def deep(n: int) -> None:
        if n:
            deep(n - 1)
        raise ValueError("\x01" * 50_000)

    def speak() -> None:
        try:
            deep(200)
        except ValueError as error:
            name, room = "\x01" * 5000, "webrtc:" + "\x02" * 9000
            with emit.session_context(session_id="s", user_id=name, user_name=name, room=room):
                log.exception("\x03" * 50_000, event="e" * 500, error=error, a="\x04" * 50_000)

    record = parsed(line_of(speak))
    assert record["truncated"] is True
    assert record["sessionId"] == "s"


def test_truncated_line_is_marked(lines: Lines) -> None:
    """A line over the limit has ``truncated``, and its message and meta are truncated."""
    log.info("m" * 7000, a="b" * 7000, c="d" * 7000)
    (record,) = lines()
    assert record["truncated"] is True
    assert record["message"].startswith("mmm")


def test_failure_of_the_logger_is_logged_once(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It never reaches the caller."""

    def broken(*_: object) -> str:
        raise MemoryError("broken")

    with monkeypatch.context() as patched:
        patched.setattr("cordboard.emit.render.body_json", lambda e, m, *_: broken() if m else "")
        log.info("One", a=1)
        log.info("Two", a=1)
    records = lines()
    assert [record["message"] for record in records] == ["A log record could not be written"]
    log.info("Three", a=1)
    assert lines()[-1]["message"] == "Three"


TEXT = st.text(st.characters(codec=None), max_size=40)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.binary(max_size=20)
    | st.dates() | st.decimals() | st.uuids() | st.complex_numbers()
)  # fmt: skip
KEY = TEXT | st.integers() | st.none() | st.booleans()
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(KEY, inner, max_size=5)
        | st.lists(inner, max_size=3).map(tuple)
        | st.sets(st.integers(), max_size=3)
    ),
    max_leaves=15,
)
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.cordboard_log_exempt("says session ids and events that no service may")
@QUICK
@given(
    message=TEXT,
    tag=TEXT,
    meta=st.dictionaries(TEXT.filter(lambda k: k not in {"event", "error"}), VALUES, max_size=5),
    event=st.none() | TEXT,
    who=st.fixed_dictionaries({}, optional={
        "session_id": TEXT, "user_id": TEXT, "user_name": TEXT, "room": TEXT,
        "epoch": st.integers(0, 10**15), "traceparent": TEXT,
    }),
)  # fmt: skip
def test_any_record_is_one_valid_line(
    message: str, tag: str, meta: dict[str, Any], event: str | None, who: dict[str, Any]
) -> None:
    """Whatever is logged, an independent reader gets one valid line with the same plain values."""

    def speak() -> None:
        with emit.session_context(**who):
            emit.get_logger(tag).info(message, event=event, **meta)

    record = parsed(line_of(speak))
    if who.get("session_id", "").isascii() and who.get("session_id", ""):
        assert record["sessionId"] == who["session_id"] or "=" in who["session_id"]
    for key, value in meta.items():
        plain = isinstance(value, (bool, int)) and abs(value) < 2**63
        if plain and key.isascii() and "[redacted]" not in record["meta"].values():
            assert record["meta"][key] == value
