"""The grammar of session ids and the canonical form of rooms."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordboard.contract.errors import InvalidValueError
from cordboard.contract.ids import (
    canonical_room,
    check_session_id,
    is_session_id,
    room_kind,
    uuid7,
    with_room_token,
)

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~:@-"


@given(st.text(ALPHABET, min_size=1, max_size=128).filter(lambda value: value.strip(".")))
def test_valid_session_id_is_kept_unchanged(value: str) -> None:
    """A session id is kept byte for byte."""
    assert check_session_id(value) == value


@given(st.one_of(st.text(min_size=0, max_size=140), st.integers(), st.none(), st.binary()))
def test_any_other_value_is_no_session_id(value: object) -> None:
    """What has another character, or another length, is none."""
    letters = set(value) if isinstance(value, str) and len(value) <= 128 else set[str]()
    assert is_session_id(value) is (bool(letters - {"."}) and letters <= set(ALPHABET))


@pytest.mark.parametrize(
    "value", ["a\n", "", "é", "a b", "x" * 129, "a/b", "null\x00", ".", "..", "." * 128]
)
def test_invalid_session_id_is_refused(value: str) -> None:
    """A refusal says what would do."""
    with pytest.raises(InvalidValueError, match="Use 1 to 128 of"):
        check_session_id(value)


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
def test_uuid7_has_version_variant_and_time(unix_ms: int, entropy: bytes) -> None:
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
        ("Phone:Twilio:CA12aB", "phone:twilio:CA12aB"),
        ("phone:telnyx:v3:a~B@-_.", "phone:telnyx:v3:a~B@-_."),
        ("WS:a:B", "ws:a:B"),
        ("LiveKit:call-_+15105550100_x", "livekit:call-_+15105550100_x"),
        ("https://Acme.Daily.CO/standup", "https://acme.daily.co/standup"),
        ("HTTPS://acme.daily.co/standup/", "https://acme.daily.co/standup"),
        ("https://acme.daily.co/Standup#frag", "https://acme.daily.co/Standup"),
        ("https://acme.daily.co/?x=1", "https://acme.daily.co?x=1"),
        ("https://acme.daily.co:443/standup", "https://acme.daily.co/standup"),
        ("http://acme.daily.co:80/standup", "http://acme.daily.co/standup"),
        ("http://acme.daily.co:443/standup", "http://acme.daily.co:443/standup"),
        ("https://acme.daily.co./standup", "https://acme.daily.co/standup"),
        ("https://acme.daily.co/x/../standup/.", "https://acme.daily.co/standup"),
        ("https://acme.daily.co/../standup", "https://acme.daily.co/standup"),
        ("https://acme.daily.co/%73tand%2dup%2F", "https://acme.daily.co/stand-up%2F"),
        ("https://acme.daily.co/%2e%2E/a%c3%a9b%é", "https://acme.daily.co/a%C3%A9b%25%C3%A9"),
        ("https://acme.daily.co/s?t=SECRET", "https://acme.daily.co/s"),
        (
            "https://acme.daily.co/s?a=1&%74oken=S;b&API_KEY=S&c=2",
            "https://acme.daily.co/s?a=1&c=2",
        ),
        ("https://acme.daily.co/s?a=1;token=S&&c", "https://acme.daily.co/s?c"),
        ("http://[::1]:8080/r", "http://[::1]:8080/r"),
    ],
)
def test_canonical_room_of_each_spelling(given_url: str, canonical: str) -> None:
    """One spelling for all equivalent ones, without tokens; and canonical stays canonical."""
    assert canonical_room(given_url) == canonical
    assert canonical_room(canonical) == canonical


@pytest.mark.parametrize(
    "value",
    ["", None, 7, "standup", "webrtc:", "webrtc:a b", "webrtc:a/b", "https://", "ftp://x/y", "https://h:x/y",
     "phone:", "phone:twilio", "phone:twilio:", "phone::CA1", "phone:twilio:..", "phone:tw_ilio:CA1", "ws:", "ws:.",
     "phone:" + "x" * 33 + ":CA1", "ws:a+b", "ws:" + "x" * 129, "livekit:", "livekit:a b", "livekit://host/room",
     "webrtc:.", "webrtc:..", "https://./x", "https://x/\ud800", "https://x/" + "é" * 700,
     "https://h:x/r?t=pw", "https://user:pw@acme.daily.co/x", "https://acme.daily.co/a\nb", "https://x/" + "y" * 2048],
)  # fmt: skip
def test_invalid_room_is_refused(value: object) -> None:
    """What names no room is refused, and the refusal never repeats a password."""
    with pytest.raises(InvalidValueError) as caught:
        canonical_room(value)
    assert "pw" not in str(caught.value)


@given(st.text(max_size=60).map(lambda rest: "https://host.example/" + rest))
def test_canonical_room_is_canonical(value: str) -> None:
    """The canonical form of a canonical form is itself."""
    try:
        once = canonical_room(value)
    except InvalidValueError:
        return
    assert canonical_room(once) == once


NAMES = st.text(ALPHABET, min_size=1, max_size=128).filter(lambda value: value.strip("."))
PROVIDERS = st.from_regex(r"[A-Za-z0-9-]{1,32}", fullmatch=True)


@given(NAMES, PROVIDERS)
def test_call_ids_and_names_are_kept_and_providers_are_not(name: str, provider: str) -> None:
    """A call id stays as the carrier spells it; a provider has one spelling."""
    assert canonical_room(f"PHONE:{provider}:{name}") == f"phone:{provider.lower()}:{name}"
    for kind in ("ws", "livekit"):
        assert canonical_room(f"{kind}:{name}") == f"{kind}:{name}"


@given(st.sampled_from(["phone:a:", "phone:", "ws:", "livekit:", "webrtc:"]), st.text(max_size=40))
def test_any_room_of_our_own_is_refused_or_becomes_canonical(prefix: str, rest: str) -> None:
    """No text has a canonical form with another canonical form, and the kind is that of the scheme."""
    try:
        once = canonical_room(prefix + rest)
    except InvalidValueError:
        return
    assert canonical_room(once) == once
    assert room_kind(once) == prefix.partition(":")[0]


@pytest.mark.parametrize(
    "url", ["https://acme.daily.co/r", "http://[::1]:8080/r", "https://ws:1/r"]
)
def test_room_of_a_provider_is_a_url(url: str) -> None:
    """The rooms of providers have one kind."""
    assert room_kind(url) == "url"


LETTERS = "abcXYZ019-._~"
SEGMENT = st.text(LETTERS + "é%", min_size=1, max_size=5).filter(lambda text: text.strip("."))


@st.composite
def spellings(draw: st.DrawFn) -> tuple[str, str]:
    """Two spellings of one room."""
    segments = draw(st.lists(SEGMENT, max_size=3))
    port = draw(st.sampled_from(["", ":8443"]))
    query = draw(st.sampled_from(["", "?a=1", "?a=1&b"]))

    def spelt() -> str:
        flip = draw(st.booleans())
        host = "ACME.Daily.co" if flip else "acme.daily.co"
        host += draw(st.sampled_from(["", "."]))
        path = ""
        for segment in segments:
            path += draw(st.sampled_from(["/", "/./", "/x/../", "/%2E/"]))
            # An encoded percent sign stays encoded, so it is spelt in one way only.
            path += "".join(
                _encoded(letter) if letter == "%" or draw(st.booleans()) else letter
                for letter in segment
            )
        token = draw(st.sampled_from(["", "t=SECRET", "token=SECRET", "T=SECRET"]))
        asked = "&".join(filter(None, [query, token] if query else [f"?{token}" if token else ""]))
        scheme = draw(st.sampled_from(["https", "HTTPS"]))
        own_port = port or draw(st.sampled_from(["", ":443", ":"]))
        return f"{scheme}://{host}{own_port}{path}{draw(st.sampled_from(['', '/']))}{asked}#{token}"

    return spelt(), spelt()


def _encoded(letter: str) -> str:
    return "".join(f"%{byte:02x}" for byte in letter.encode())


@given(spellings())
def test_equivalent_spellings_have_one_canonical_room(pair: tuple[str, str]) -> None:
    """Two callers who spell one room differently, each with a token of their own, meet in it."""
    first, second = (canonical_room(text) for text in pair)
    assert first == second == canonical_room(first)
    assert "SECRET" not in first


@pytest.mark.parametrize(
    ("body", "token"),
    [
        ({"room_url": "https://a.daily.co/r?t=S"}, "S"),
        ({"room_url": "https://a.daily.co/r?x=1&token=a%2Bb"}, "a+b"),
        ({"room_url": "https://a.daily.co/r?t=S", "token": "own"}, "own"),
        ({"room_url": "https://a.daily.co/r?T=S"}, "S"),
        ({"room_url": "https://meet.example/r?x=1&access_token=S"}, "S"),
        ({"room_url": "https://meet.example/r?api_key=K&token=S"}, "S"),
        ({"room_url": "https://a.daily.co/r"}, None),
        ({"room_url": 7}, None),
        ({"room_url": "http://[?t=1"}, None),
    ],
)
def test_token_of_the_room_url_becomes_the_token(
    body: dict[str, object], token: str | None
) -> None:
    """A token in the room's URL becomes the join's token, unless it has one."""
    found = with_room_token(body)
    assert isinstance(found, dict)
    assert found.get("token") == token


@pytest.mark.parametrize("body", [None, [], "text", 1])
def test_body_without_a_room_token_is_unchanged(body: object) -> None:
    """What is no object stays as it is, for the validation that follows."""
    assert with_room_token(body) is body
