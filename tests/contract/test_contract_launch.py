"""The launch message: what is written is read again, and nothing else is."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordboard.contract.errors import InvalidValueError, UnknownVersionError
from cordboard.contract.launch import Launch, decode, encode

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=5,
)


@given(
    st.from_regex(r"(?!\.+$)[A-Za-z0-9._~:@-]{1,128}", fullmatch=True),
    st.integers(1, 10**12),
    st.none() | TEXT,
    st.dictionaries(TEXT, JSON, max_size=4),
)
def test_round_trip(session_id: str, epoch: int, name: str | None, body: dict[str, Any]) -> None:
    """Every launch is read as it was written, and absent values are not written."""
    launch = Launch(session_id, "webrtc:demo", epoch, user_name=name, body=body)
    text = encode(launch)
    assert decode(text) == launch
    assert None not in json.loads(text).values()


@given(st.text() | st.binary())
def test_foreign_input(text: str | bytes) -> None:
    """Whatever comes, the answer is a launch or an error of ours."""
    with contextlib.suppress(InvalidValueError):
        decode(text)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_unknown_version(version: object) -> None:
    """Another version is refused by its number."""
    with pytest.raises(UnknownVersionError, match="version"):
        decode(json.dumps({"v": version, "session_id": "a", "room_url": "webrtc:a", "epoch": 1}))


@pytest.mark.parametrize(
    "over",
    [{"session_id": "a b"}, {"room_url": "WEBRTC:a"}, {"epoch": 0}, {"epoch": True}, {"epoch": "1"},
     {"body": []}, {"attempt": 0}],
)  # fmt: skip
def test_refused(over: dict[str, Any]) -> None:
    """A field that does not fit is refused."""
    good = {"v": 1, "session_id": "a", "room_url": "webrtc:a", "epoch": 1}
    assert decode(json.dumps(good)).epoch == 1
    with pytest.raises(InvalidValueError):
        decode(json.dumps(good | over))


def test_newer_fields_are_ignored() -> None:
    """A field that this version does not know does no harm."""
    good = {"v": 1, "session_id": "a", "room_url": "webrtc:a", "epoch": 1, "later": 1}
    assert decode(json.dumps(good)).session_id == "a"


def test_the_token_is_not_shown() -> None:
    """The room's token is in no repr."""
    assert "hush" not in repr(Launch("a", "webrtc:a", 1, token="hush"))
