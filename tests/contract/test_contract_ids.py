"""The grammar of session ids and the canonical form of rooms."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordboard.contract.errors import InvalidValueError
from cordboard.contract.ids import canonical_room, check_session_id, is_session_id, uuid7

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~:@-"


@given(st.text(ALPHABET, min_size=1, max_size=128))
def test_every_id_of_the_grammar_is_kept(value: str) -> None:
    """A session id is kept byte for byte."""
    assert check_session_id(value) == value


@given(st.one_of(st.text(min_size=0, max_size=140), st.integers(), st.none(), st.binary()))
def test_nothing_else_is_one(value: object) -> None:
    """What has another character, or another length, is none."""
    expected = isinstance(value, str) and 1 <= len(value) <= 128 and set(value) <= set(ALPHABET)
    assert is_session_id(value) is expected


@pytest.mark.parametrize("value", ["a\n", "", "é", "a b", "x" * 129, "a/b", "null\x00"])
def test_refused(value: str) -> None:
    """A refusal says what would do."""
    with pytest.raises(InvalidValueError, match="1 to 128 characters"):
        check_session_id(value)


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
def test_uuid7(unix_ms: int, entropy: bytes) -> None:
    """Made ids are UUIDs of version 7 that carry their time, and session ids."""
    made = uuid.UUID(uuid7(unix_ms, entropy))
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert made.int >> 80 == unix_ms
    assert is_session_id(str(made))


@pytest.mark.parametrize(
    ("given_url", "canonical"),
    [
        ("webrtc:standup", "webrtc:standup"),
        ("WebRTC:Standup/", "webrtc:Standup"),
        ("webrtc:standup#x", "webrtc:standup"),
        ("https://Acme.Daily.CO/standup", "https://acme.daily.co/standup"),
        ("HTTPS://acme.daily.co/standup/", "https://acme.daily.co/standup"),
        ("https://acme.daily.co/Standup#frag", "https://acme.daily.co/Standup"),
        ("https://acme.daily.co/?t=1", "https://acme.daily.co?t=1"),
        ("http://[::1]:8080/r", "http://[::1]:8080/r"),
    ],
)
def test_canonical(given_url: str, canonical: str) -> None:
    """Scheme and host lower case, no trailing slash, no fragment; and canonical stays canonical."""
    assert canonical_room(given_url) == canonical
    assert canonical_room(canonical) == canonical


@pytest.mark.parametrize(
    "value",
    ["", None, 7, "standup", "webrtc:", "webrtc:a b", "webrtc:a/b", "https://", "ftp://x/y", "https://h:x/y",
     "https://user:pw@acme.daily.co/x", "https://acme.daily.co/a\nb", "https://x/" + "y" * 2048],
)  # fmt: skip
def test_no_room(value: object) -> None:
    """What names no room is refused, and the refusal never repeats a password."""
    with pytest.raises(InvalidValueError) as caught:
        canonical_room(value)
    assert "pw" not in str(caught.value)


@given(st.text(max_size=60).map(lambda rest: "https://host.example/" + rest))
def test_canonical_is_idempotent(value: str) -> None:
    """The canonical form of a canonical form is itself."""
    try:
        once = canonical_room(value)
    except InvalidValueError:
        return
    assert canonical_room(once) == once
