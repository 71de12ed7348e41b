"""Each wire form of a launch has every field that the launch declares for it, and no other."""

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cordboard.context import Context, bound_context
from cordboard.context.carrier import extract_environment, inject_environment
from cordboard.context.launch import context_of
from cordboard.contract.launch import (
    JOIN_FIELDS,
    RECORD_FIELDS,
    START_FIELDS,
    Launch,
    decode,
    encode,
    record_fields,
    request_key,
    start_body,
)
from cordboard.gateway.schemas import JoinBody
from cordboard.runner.request_bodies import StartBody
from cordboard.store import SessionRecord
from cordboard.store.records import record_from_hash

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=20)
ABSENT_OR_TEXT = st.none() | TEXT
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
LAUNCHES = st.builds(
    Launch,
    session_id=st.from_regex(r"(?!\.+$)[A-Za-z0-9._~:@-]{1,128}", fullmatch=True),
    room_url=st.sampled_from(["webrtc:standup", "https://acme.daily.co/standup"]),
    epoch=st.integers(1, 2**53),
    user_id=ABSENT_OR_TEXT,
    user_name=ABSENT_OR_TEXT,
    user_email=ABSENT_OR_TEXT,
    tenant_id=ABSENT_OR_TEXT,
    bot=st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True),
    token=ABSENT_OR_TEXT,
    body=st.dictionaries(TEXT, JSON, max_size=4),
    attempt=st.integers(1, 3),
    deadline_s=st.integers(1, 600),
    max_duration_s=st.integers(1, 7 * 86_400),
    traceparent=st.none() | st.just(TRACEPARENT),
)
COMPLETE = Launch(
    session_id="call-7",
    room_url="webrtc:standup",
    epoch=4,
    user_id="u-1",
    user_name="Ada",
    user_email="ada@example.org",
    tenant_id="acme",
    bot="german",
    token="hush",
    body={"language": "de"},
    attempt=2,
    deadline_s=30,
    max_duration_s=60,
    traceparent=TRACEPARENT,
)
"""A launch in which no field has its default."""


def test_complete_launch_sets_each_field() -> None:
    """``COMPLETE`` has no default left: the tests below would miss a field that has."""
    required = Launch("-", "-", 0)
    unset = [
        f.name for f in fields(Launch) if getattr(COMPLETE, f.name) == getattr(required, f.name)
    ]
    assert unset == []


@pytest.mark.parametrize(("model", "names"), [(JoinBody, JOIN_FIELDS), (StartBody, START_FIELDS)])
def test_body_has_the_declared_fields(model: Any, names: tuple[str, ...]) -> None:
    """A field that is added to ``Launch`` alone, or to a body alone, is reported."""
    assert set(model.model_fields) == set(names)
    aliases = {name: field.alias for name, field in model.model_fields.items()}
    assert aliases == {name: request_key(name) for name in names}


def test_keys_of_bodies() -> None:
    """The keys of the bodies of ``POST /join`` and ``POST /start`` stay as they are."""
    common = {
        "sessionId", "room_url", "sessionUserId", "sessionUserName", "sessionUserEmail", "tenantId",
        "bot", "token", "body", "maxDurationSeconds",
    }  # fmt: skip
    assert {request_key(name) for name in JOIN_FIELDS} == {*common, "deadlineSeconds"}
    assert {request_key(name) for name in START_FIELDS} == {*common, "epoch", "attempt"}


def test_fields_of_the_record() -> None:
    """The names in Redis stay as they are."""
    assert set(RECORD_FIELDS) == {
        "bot", "max_duration_s", "user_id", "user_name", "tenant_id", "traceparent",
    }  # fmt: skip


@settings(max_examples=25)
@given(LAUNCHES)
def test_queue_message_round_trip(launch: Launch) -> None:
    """The launch queue keeps every field."""
    assert decode(encode(launch)) == launch


@settings(max_examples=25)
@given(LAUNCHES)
def test_start_body_round_trip(launch: Launch) -> None:
    """A runner reads from ``POST /start`` what the operator wrote; the trace is a header."""
    with bound_context(Context(traceparent=launch.traceparent)):
        received = StartBody.model_validate(start_body(launch)).launch()
    undeclared = [f.name for f in fields(Launch) if f.name not in {*START_FIELDS, "traceparent"}]
    assert undeclared == ["deadline_s"]  # the gateway's business
    assert replace(received, deadline_s=launch.deadline_s) == launch


@settings(max_examples=25)
@given(LAUNCHES)
def test_join_body_round_trip(launch: Launch) -> None:
    """The gateway takes every field of a join; the store assigns epoch and attempt."""
    body = {request_key(name): getattr(launch, name) for name in JOIN_FIELDS}
    accepted = JoinBody.model_validate(body).launch(launch.session_id, launch.traceparent)
    assert accepted == replace(launch, epoch=1, attempt=1)


@settings(max_examples=25)
@given(LAUNCHES)
def test_record_round_trip(launch: Launch) -> None:
    """A session record shows the fields of its launch."""
    record = record_from_hash(_hash(launch))
    for name in set(RECORD_FIELDS) & {field.name for field in fields(SessionRecord)}:
        assert getattr(record, name) == getattr(launch, name)
    assert set(RECORD_FIELDS) - {f.name for f in fields(SessionRecord)} == {"max_duration_s"}


@pytest.mark.parametrize("source", ["launch", "record"])
def test_context_has_each_value(source: str) -> None:
    """The context of a launch, and of its record, lacks no value: the trace is not dropped."""
    session: Any = COMPLETE if source == "launch" else record_from_hash(_hash(COMPLETE))
    context = context_of(session)
    empty = [f.name for f in fields(Context) if f.init and getattr(context, f.name) is None]
    assert empty == []


@settings(max_examples=25)
@given(LAUNCHES)
def test_environment_round_trip(launch: Launch) -> None:
    """A cold runner reads the launch's context from its environment."""
    environment: dict[str, str] = {}
    inject_environment(context_of(launch), environment)
    assert extract_environment(environment).context == context_of(launch)


def _hash(launch: Launch) -> dict[str, str]:
    """Return the hash in Redis of a queued session."""
    return {
        "session_id": launch.session_id,
        "room_url": launch.room_url,
        "state": "queued",
        "epoch": str(launch.epoch),
        "attempt": str(launch.attempt),
        "created_ms": "1",
        "deadline_ms": "2",
        **record_fields(launch),
    }
