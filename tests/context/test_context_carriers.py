"""Carriers round-trip a context, write no malformed value, and accept any input."""

import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cordboard.context import Context
from cordboard.context.carrier import (
    Extracted,
    extract_environment,
    extract_headers,
    extract_message,
    inject_baggage,
    inject_environment,
    inject_headers,
    inject_message,
)
from cordboard.context.log_environment import log_environment

QUICK = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
SESSION = st.from_regex(r"(?!\.+$)[A-Za-z0-9._~:@-]{1,128}", fullmatch=True)
SAFE = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=200)
ASCII_ID = st.from_regex(r"[!-~]([ -~]{0,40}[!-~])?", fullmatch=True)
TRACE = st.just("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
EPOCH = st.integers(0, 10**15)
ANY_TEXT = st.text(st.characters(codec=None), max_size=60)
WILD = ANY_TEXT | st.from_regex(r"[\r\n].*: .*", fullmatch=True)


@st.composite
def contexts(draw: st.DrawFn, user_id: Any = SAFE) -> Context:
    def maybe(strategy: Any) -> Any:
        return draw(st.none() | strategy)

    return Context(
        session_id=maybe(SESSION),
        user_id=maybe(user_id),
        user_name=maybe(SAFE),
        room=maybe(SAFE),
        epoch=maybe(EPOCH),
        traceparent=maybe(TRACE),
    )


def without_room(context: Context) -> Context:
    return Context(
        context.session_id, context.user_id, context.user_name, None, context.epoch,
        context.traceparent,
    )  # fmt: skip


@QUICK
@given(contexts(user_id=ASCII_ID))
def test_headers_round_trip(context: Context) -> None:
    """A context survives injection and extraction, however a server spells the names."""
    headers: dict[str, str] = {}
    inject_headers(context, headers)
    pairs = [(k.lower().encode(), v.encode("ascii")) for k, v in headers.items()]
    assert extract_headers(headers) == Extracted(without_room(context))
    assert extract_headers(pairs) == Extracted(without_room(context))


@QUICK
@given(contexts())
def test_messages_and_environments_round_trip(context: Context) -> None:
    """A context survives a message of a queue, as JSON, and an environment."""
    message: dict[str, Any] = {"other": 1}
    inject_message(context, message)
    assert extract_message(json.loads(json.dumps(message))) == Extracted(context)
    environment: dict[str, str] = {"PATH": "/bin", "BOT_SESSION_ID": "old"}
    inject_environment(context, environment)
    assert extract_environment(environment) == Extracted(context)
    assert environment["PATH"] == "/bin"
    assert not {"", "None", "null"} & set(environment.values()) - {
        context.user_id, context.user_name, context.room,
    }  # fmt: skip


@QUICK
@given(contexts())
def test_baggage_round_trips_ids_and_names(context: Context) -> None:
    """Members of other owners stay in the baggage."""
    headers = {"baggage": "vendor=1;p=2, session.id=old"}
    inject_baggage(context, headers)
    found = extract_headers(headers).context
    assert (found.user_id, found.user_name) == (context.user_id, context.user_name)
    assert found.session_id == (context.session_id or None)
    assert "vendor=1;p=2" in headers["baggage"]
    assert len(headers["baggage"]) <= 8192


@QUICK
@given(
    st.builds(
        Context,
        session_id=WILD, user_id=WILD, user_name=WILD, room=WILD,
        epoch=st.integers(), traceparent=WILD,
    )
)  # fmt: skip
def test_no_malformed_value_is_injected(context: Context) -> None:
    """Whatever a program has bound, headers are printable ASCII and variables contain no NUL."""
    headers: dict[str, str] = {}
    inject_headers(context, headers)
    inject_baggage(context, headers)
    for value in headers.values():
        assert re.fullmatch(r"[!-~]([ -~]*[!-~])?", value), value
    environment: dict[str, str] = {}
    inject_environment(context, environment)
    for value in environment.values():
        assert value
        assert not re.search(r"[\x00-\x1f]", value)


@QUICK
@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ["X-Session-Id", "x-user-id", "X-USER-NAME", "X-Session-Epoch", "traceparent",
                 "baggage", "host"]
            )
            | ANY_TEXT,
            ANY_TEXT | st.from_regex(r"session\.id=.{0,20}(;x)?(,user\.id=%[0-9a-fA-F]?.)?"),
        ),
        max_size=8,
    )
)  # fmt: skip
def test_extracting_any_headers_never_raises(pairs: list[tuple[str, str]]) -> None:
    """Each value is extracted and valid, or refused by name."""
    found = extract_headers(pairs)
    again: dict[str, str] = {}
    inject_headers(found.context, again)
    reread = extract_headers(again).context
    assert reread.session_id == found.context.session_id
    assert reread.user_name == found.context.user_name
    assert reread.epoch == found.context.epoch
    assert set(found.refused) <= set(Context.__slots__)


@QUICK
@given(st.lists(st.tuples(st.binary(max_size=30), st.binary(max_size=60)), max_size=6))
def test_extracting_any_bytes_never_raises(pairs: list[tuple[bytes, bytes]]) -> None:
    """ASGI passes headers as bytes of any value."""
    extract_headers([(b"x-user-name", value) for _, value in pairs] + pairs)


@QUICK
@given(st.recursive(st.none() | st.integers() | ANY_TEXT, lambda i: st.dictionaries(
    st.sampled_from(["sessionId", "userId", "room", "epoch", "traceparent"]), i)))  # fmt: skip
def test_extracting_any_message_never_raises(message: object) -> None:
    """A queue may contain anything."""
    extract_message(message)


def test_malformed_value_is_refused_by_name() -> None:
    """A malformed session id is left out and named; the other values are kept."""
    found = extract_headers({"X-Session-Id": "a b", "X-User-Id": "u", "X-Session-Epoch": "-1"})
    assert found == Extracted(Context(user_id="u"), ("session_id", "epoch"))


def test_own_headers_take_precedence_over_baggage() -> None:
    """X-Session-Id overrides session.id of the baggage."""
    found = extract_headers({"baggage": "session.id=b,user.id=u%20x", "X-Session-Id": "a"})
    assert found.context == Context(session_id="a", user_id="u x")


@pytest.mark.parametrize(
    ("environment", "machine"),
    [
        ({"POD_NAME": "pod-1", "JOB_ID": "job-1"}, "pod-1"),
        ({"POD_NAME": "", "JOB_ID": "job-1"}, "job-1"),
        ({"POD_NAME": "localhost", "JOB_ID": "0.0.0.0"}, None),
    ],
)
def test_machine_is_pod_then_job_then_host(
    environment: dict[str, str], machine: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a session the machine is named: POD_NAME, else JOB_ID, else the host, but not localhost or 0.0.0.0."""
    import os

    real = os.uname()
    for name, expected in (("localhost", "server"), ("host-1", "host-1")):
        fake = os.uname_result((real[0], name, *real[2:]))
        monkeypatch.setattr(os, "uname", lambda fake=fake: fake)
        assert log_environment(environment).machine == (machine or expected)
