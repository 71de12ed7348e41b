"""A line contains no control character beyond ASCII, and is the same text for every reader."""

import json
import logging
import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cordboard import emit
from cordboard.contract.ids import is_session_id
from cordboard.contract.record import LINE_MAX_BYTES
from cordboard.emit.json_codec import encode_line, escape_controls
from cordboard.emit.pipeline import pipeline
from lines_support import configure_again

Lines = Callable[[], list[dict[str, Any]]]
QUICK = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
CONTROLS = "".join(map(chr, [*range(0x80, 0xA0), 0x2028, 0x2029]))
CONTROL = re.compile("[\x00-\x1f\x80-\x9f\u2028\u2029]")
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
RISKY_TEXT = st.text(st.sampled_from(CONTROLS + 'aé°“ €"\\\n\ud7ff\U0001f600\u2027\u202a'))
TEXT = ANY_TEXT | RISKY_TEXT


def lines_of(action: Callable[[], object]) -> list[bytes]:
    """Return the lines, as bytes, that an action writes."""
    caught: list[bytes] = []
    pipeline.add_observer(caught.append)
    try:
        with emit.capture():
            action()
    finally:
        pipeline.remove_observer(caught.append)
    return caught


@QUICK
@given(TEXT)
def test_escaping_changes_no_text(text: str) -> None:
    """Any reader of JSON gets the same text back, and no control character is left in the bytes."""
    line = encode_line({"text": text})
    assert json.loads(line) == msgspec.json.decode(line) == {"text": text}
    assert not CONTROL.search(line.decode().rstrip("\n"))
    assert escape_controls(line) == line


@QUICK
@given(TEXT)
def test_only_control_characters_are_escaped(text: str) -> None:
    """Text without control characters is written as UTF-8, byte for byte."""
    plain = msgspec.json.encode(CONTROL.sub("", text))
    assert escape_controls(plain) == plain


@pytest.mark.cordboard_log_exempt("says events that no service may")
@QUICK
@given(st.tuples(*[TEXT] * 6))
def test_no_field_contains_a_control_character(texts: tuple[str, ...]) -> None:
    """Message, tag, user, keys, values, event and error are escaped alike, short and long."""
    message, tag, user, key, value, event = texts

    def speak() -> None:
        with emit.session_context(session_id="s", user_id=user, user_name=user):
            logger = emit.get_logger(tag)
            logger.info(message, event=event, **{f"{key}_": value})
            logger.error(message, error=ValueError(value), long=value * 3000)
            emit.raw(message, service="bot")

    for line in lines_of(speak):
        assert len(line) <= LINE_MAX_BYTES
        assert line.endswith(b"\n")
        assert not CONTROL.search(line[:-1].decode())
        record = json.loads(line)
        assert "[" not in record["tag"]
        assert "]" not in record["tag"]


def test_forwarded_record_is_escaped(lines: Lines) -> None:
    """Records of browsers and children are escaped, and otherwise unchanged."""
    emit.get_logger("x").info("Template")
    (record,) = lines()
    record["message"] = f"one{CONTROLS}two"
    text = json.dumps(record, ensure_ascii=False).encode()
    record["tag"] = "page[1]"
    for line in lines_of(lambda: (emit.forward(record), emit.forward_line(text))):
        assert not CONTROL.search(line[:-1].decode())
        assert json.loads(line)["message"] == record["message"]
    forwarded = json.loads(lines_of(lambda: emit.forward(record))[0])
    assert forwarded["tag"] == "page(1)"


def test_tag_contains_no_brackets(lines: Lines) -> None:
    """A tag from the name of any library's logger has parentheses instead."""
    emit.get_logger("worker[3]").info("One")
    logging.getLogger("pool[1].x").warning("Two")
    emit.raw("Three", service="bot", tag="out[0]")
    assert [record["tag"] for record in lines()] == ["worker(3)", "pool(1)", "out(0)"]


@pytest.mark.parametrize("name", ["my pod[1]/é", "a" * 300, "\x1b]0;x", "..", "ok-1.example:80"])
def test_any_machine_name_gives_a_valid_session_id(
    name: str, monkeypatch: pytest.MonkeyPatch, lines: Lines
) -> None:
    """Whatever POD_NAME contains, the id of lines without a session is valid."""
    monkeypatch.setenv("POD_NAME", name)
    configure_again()
    emit.get_logger("x").info("Here")
    (record,) = lines()
    assert is_session_id(record["sessionId"])
    if name == "ok-1.example:80":
        assert record["sessionId"] == f"server:{name}"
