"""The id of a carrier's stream in its messages, and the messages that concern the stream."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordboard.contract.carrier_streams import (
    FORMS,
    decoded,
    form_of_room,
    is_stop,
    start_of,
    with_stream_id,
)

OLD, NEW = 'MZ-\u00e4 1/"x', "MZ2"
KEYS = [form.stream_id for form in FORMS]
# Texts that contain the id, and that look like the key with it.
TEXTS = st.sampled_from(
    [OLD, f"a{OLD}", f'"streamSid":"{OLD}"', f'\\"streamSid":"{OLD}"', "x"]
) | st.text(max_size=9)
VALUES = st.recursive(
    TEXTS | st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS) | TEXTS, inner, max_size=4)
    ),
    max_leaves=12,
)
WRITERS = st.sampled_from(
    [
        {},
        {"separators": (",", ":")},
        {"separators": (" ,\n", "\t: ")},
        {"ensure_ascii": False, "indent": 1},
    ]
)


def rewritten(value: Any) -> Any:
    """Return a value in which the keys of ids have the new id."""
    if isinstance(value, list):
        return [rewritten(item) for item in value]
    if isinstance(value, dict):
        return {
            key: NEW if key in KEYS and item == OLD else rewritten(item)
            for key, item in value.items()
        }
    return value


@given(message=VALUES, writer=WRITERS)
def test_the_id_is_rewritten_where_a_key_says_that_it_is_one(
    message: Any, writer: dict[str, Any]
) -> None:
    """And nowhere else: not within texts, and without it the message stays the same byte for byte."""
    text = json.dumps(message, **writer)
    assert json.loads(with_stream_id(text, OLD, NEW)) == rewritten(message)
    assert with_stream_id(text, "an id that is nowhere", NEW) == text
    if NEW not in text and OLD not in KEYS:
        back = with_stream_id(with_stream_id(text, OLD, NEW), NEW, OLD)
        assert json.loads(back) == message


def test_all_else_stays_byte_for_byte() -> None:
    """Blanks, escapes and the order of keys."""
    text = '{ "event":"media", "streamSid" :"a\\u0062", "media":{"payload":"\\u0062\\/ab"} }'
    assert with_stream_id(text, "ab", "cd") == text.replace('"a\\u0062"', '"cd"')


@given(st.text())
def test_any_text_is_harmless(text: str) -> None:
    """A text that is no JSON stays as it is, or loses nothing but an id."""
    assert with_stream_id(text, "no such id", NEW) == text
    assert isinstance(decoded(text), dict)
    assert is_stop(text) in {True, False}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"event":"stop","streamSid":"a"}', True),
        ('{"event": "dtmf", "dtmf": {"digit": "stop"}}', False),
        ('{"event":"media","media":{"payload":"stop"},"x":"stop"}', False),
        ("stop", False),
    ],
)
def test_stop_is_told_from_other_messages(text: str, expected: bool) -> None:
    """By its event alone."""
    assert is_stop(text) is expected


def test_rooms_of_calls_have_the_form_of_their_carrier() -> None:
    """Rooms of other kinds, and of carriers that nobody knows, have none."""
    for form in FORMS:
        assert form_of_room(f"phone:{form.carrier}:call:1") is form
    assert [form_of_room(room) for room in ("phone:other:1", "ws:twilio:1", "phone:")] == [None] * 3


def test_start_without_texts_as_ids_has_none() -> None:
    """The ids come from outside."""
    start = start_of({"event": "start", "start": {"streamSid": 1, "callSid": None}})
    assert start is not None
    assert (start.call_id, start.stream_id) == ("", "")
