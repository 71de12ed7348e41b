"""ICE servers: their URLs, their forms in settings, and the credentials of a session."""

import base64
import hashlib
import hmac
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cordboard.contract.errors import InvalidValueError, SettingsError
from cordboard.contract.ice import (
    SERVERS_MAX,
    IceServer,
    ice_config,
    ice_servers_json,
    parse_ice_servers,
    parse_ice_url,
    turn_credentials,
)

NOW = 1_800_000_000
SECRET_TEXT = st.text(min_size=6, max_size=20).map(lambda text: f"Zq{text}xW9")
SESSION_IDS = st.from_regex(r"[A-Za-z0-9_~:@-][A-Za-z0-9._~:@-]{0,127}", fullmatch=True)


def config(servers: object, session_id: str = "call-7", **options: Any) -> dict[str, Any] | None:
    return ice_config(parse_ice_servers(servers), session_id, expires_at=NOW, **options)


# --- URLs


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("TURN:Turn.Example.COM:3478?transport=TCP", "turn:turn.example.com?transport=tcp"),
        ("stun:[2001:DB8::1]:19302", "stun:[2001:db8::1]:19302"),
        ("turns:192.0.2.1:443", "turns:192.0.2.1:443"),
    ],
)
def test_urls_are_kept_in_one_spelling(text: str, shown: str) -> None:
    """Scheme, host and transport are in lower case; the default port is left out."""
    assert str(parse_ice_url(text)) == shown


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "expected the scheme"),
        ("turn.example.com", "expected the scheme"),
        ("http://turn.example.com", "expected the scheme"),
        ("turn://turn.example.com", "no // after the scheme"),
        ("turn:", "host"),
        ("turn:-x", "host"),
        (f"turn:{'a' * 254}", "host"),
        ("turn:[1.2.3.4]", "host"),
        ("turn:[fe80::1%eth0]", "host"),
        ("turn:h:0", "port"),
        ("turn:h:65536", "port"),
        ("turn:h:x", "malformed"),
        ("turn:h?transport=sctp", "not udp or tcp"),
        ("turn:h?transport=", "malformed"),
        ("turn:h?x=y", "malformed"),
        ("stun:h?transport=udp", "only turn: and turns:"),
        ("turn:a b", "host"),
        ("turn:h\n", "malformed|host"),
    ],
)
def test_invalid_urls_are_refused_with_the_reason(text: str, why: str) -> None:
    """Each error says what is wrong and which forms exist."""
    with pytest.raises(InvalidValueError, match=why) as caught:
        parse_ice_url(text)
    assert "turns:HOST:PORT" in caught.value.hint


@given(st.text(max_size=60))
@example("turn:user:Zqpassword@host")
def test_any_text_is_a_url_or_an_error(text: str) -> None:
    """Nothing but the documented error comes out, on one line."""
    message = ""
    try:
        parse_ice_url(text)
    except InvalidValueError as error:
        message = error.message
    assert "Zq" not in message
    assert message.isprintable()


# --- the setting


def test_servers_as_json_are_read_back() -> None:
    """What a runner elsewhere gets in its environment means the same servers."""
    value = ["stun:a", {"urls": ["turn:b", "turns:b"], "username": "u", "credential": "p"}]
    servers = parse_ice_servers(value)
    assert parse_ice_servers(ice_servers_json(servers)) == servers


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (7, "a list of URLs"),
        ("[1", "Not valid JSON"),
        ([7], "a URL, or a table"),
        ([{"url": "turn:h"}], "Unknown key 'url'"),
        ([{}], "urls"),
        ([{"urls": []}], "urls"),
        ([{"urls": [1]}], "urls"),
        ([{"urls": "turn:h", "username": "Zq"}], "both or neither"),
        ([{"urls": "turn:h", "username": "Zq", "credential": 7}], "credential"),
        ([{"urls": "turn:h", "username": "", "credential": "Zq"}], "username"),
        ("[" * 100_000, "Not valid JSON"),
        (["stun:h"] * (SERVERS_MAX + 1), "at most"),
        ('{"urls": "turn:h", "credential": "Zq}', "Not valid JSON"),
    ],
)
def test_invalid_lists_are_refused_without_their_passwords(value: object, why: str) -> None:
    """The error names the fault and no password."""
    with pytest.raises(InvalidValueError, match=why) as caught:
        parse_ice_servers(value)
    assert "Zq" not in str(caught.value)


@given(SECRET_TEXT, SECRET_TEXT)
def test_a_server_is_shown_without_its_password(username: str, credential: str) -> None:
    """Neither repr nor str of a server contains its user name or its password."""
    value = [{"urls": "turn:h", "username": username, "credential": credential}]
    (server,) = parse_ice_servers(value)
    assert f"{server!r} {server}" == "IceServer(turn:h) IceServer(turn:h)"


# --- credentials


@given(st.text(min_size=1), SESSION_IDS, st.integers(0, 2**40))
@example("secret", "phone:twilio:CA1", NOW)
def test_credentials_are_those_of_the_draft(secret: str, session_id: str, expires_at: int) -> None:
    """`EXPIRY:SESSION` and base64 of HMAC-SHA1; the server finds the time before the first colon."""
    username, credential = turn_credentials(secret, session_id, expires_at)
    time, _, user = username.partition(":")
    assert (int(time), user) == (expires_at, session_id)
    key = secret.encode("utf-8", "surrogateescape")
    assert base64.b64decode(credential) == hmac.digest(key, username.encode(), hashlib.sha1)


def test_credentials_match_a_known_value() -> None:
    """As `printf EXPIRY:SESSION | openssl dgst -binary -sha1 -hmac SECRET | base64` prints it."""
    assert turn_credentials("north", "call-7", 1433895918) == (
        "1433895918:call-7", "b+4JxvINPoMwOq6Dg1PLv5QAypU=",
    )  # fmt: skip


def test_credentials_need_a_session_id() -> None:
    """A text that is no session id gets no credentials."""
    with pytest.raises(InvalidValueError):
        turn_credentials("secret", "a b", NOW)


# --- a session's servers


def test_config_has_derived_credentials_for_turn_only() -> None:
    """A STUN server gets none, a TURN server those of the session, a fixed password is kept."""
    fixed = {"urls": ["turn:c"], "username": "u", "credential": "p"}
    servers = ["stun:a", {"urls": ["turn:b", "turns:b"]}, fixed]
    username, credential = turn_credentials("secret", "call-7", NOW)
    assert config(servers, secret="secret") == {
        "iceServers": [
            {"urls": ["stun:a"]},
            {"urls": ["turn:b", "turns:b"], "username": username, "credential": credential},
            fixed,
        ]
    }


def test_config_is_absent_without_servers() -> None:
    """No servers: None, not an empty list."""
    assert config([]) is None


def test_config_names_the_policy_relay() -> None:
    """`relay` is for the client; `all` is every client's default and not sent."""
    shown = config(["turn:b"], secret="s", policy="relay")
    assert shown is not None
    assert shown["iceTransportPolicy"] == "relay"


@pytest.mark.parametrize(
    ("servers", "options", "why"),
    [
        (["turn:b"], {}, "turn:b has no credentials"),
        (["stun:a"], {"policy": "relay"}, "has no TURN server"),
        ([], {"policy": "relay"}, "has no TURN server"),
    ],
)
def test_config_without_a_path_is_an_error(
    servers: list[str], options: dict[str, Any], why: str
) -> None:
    """A TURN server that would refuse every caller, or a policy without one, is a wrong setting."""
    with pytest.raises(SettingsError, match=why) as caught:
        config(servers, **options)
    assert caught.value.hint


def test_servers_are_values() -> None:
    """Servers with the same URLs and credentials are equal."""
    assert parse_ice_servers("turn:b") == (IceServer((parse_ice_url("turn:B"),)),)
