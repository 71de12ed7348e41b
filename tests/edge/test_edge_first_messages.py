"""How a stream's first messages name its carrier and its call."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pipecat.evals.serializer import parse_eval_connect
from pipecat.runner.utils import parse_telephony_websocket

from cordboard.contract.carrier_streams import FORMS
from cordboard.edge.streams.first_messages import CarrierCall, call_of, is_eval_connect
from cordboard.edge.streams.held_messages import HeldMessages

# The documented messages of the carriers, shortened.
STARTS = {
    "twilio": {
        "event": "start",
        "streamSid": "MZ1",
        "start": {
            "streamSid": "MZ1",
            "callSid": "CA1",
            "accountSid": "AC1",
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000},
            "customParameters": {"media": "x"},
        },
    },
    "telnyx": {
        "event": "start",
        "stream_id": "s1",
        "start": {
            "call_control_id": "v3:1",
            "media_format": {"encoding": "PCMU"},
            "from": "+1",
            "to": "+2",
        },
    },
    "plivo": {"event": "start", "start": {"streamId": "p1", "callId": "c1", "tracks": ["inbound"]}},
    "exotel": {
        "event": "start",
        "stream_sid": "e1",
        "start": {
            "stream_sid": "e1",
            "call_sid": "c2",
            "account_sid": "a1",
            "from": "1",
            "to": "2",
        },
    },
}
CALL_IDS = {"twilio": "CA1", "telnyx": "v3:1", "plivo": "c1", "exotel": "c2"}
KEYS = sorted({form.call_id for form in FORMS} | {key for form in FORMS for key in form.start_keys})
# Messages around the rules of every carrier: some keys of each, more or fewer than needed.
MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "event": st.sampled_from(["start", "connected", "media"]),
        "stream_id": st.just("s"),
        "start": st.dictionaries(st.sampled_from(KEYS), st.just("id-1")),
    },
)


class Stream:
    """A WebSocket as Pipecat's parser reads it."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts

    async def iter_text(self) -> Any:
        for text in self.texts:
            yield text


async def parsed_by_pipecat(texts: list[str]) -> tuple[str, Any]:
    """Return the carrier and the call id that Pipecat finds; ``unknown`` without a call id."""
    carrier, data = await parse_telephony_websocket(Stream(texts))
    return carrier, data.get("call_id") if carrier != "unknown" else None


def parsed(texts: list[str]) -> tuple[str, Any]:
    """Return the carrier and the call id that the edge finds."""
    call = next((call for call in map(call_of, texts) if call is not None), None)
    return (call.carrier, call.call_id) if call is not None else ("unknown", None)


@pytest.mark.parametrize("carrier", sorted(STARTS))
@pytest.mark.parametrize("has_connected", [True, False])
async def test_documented_messages_name_the_call_as_for_pipecat(
    carrier: str, *, has_connected: bool
) -> None:
    """With and without a message before the start."""
    texts = [json.dumps({"event": "connected"})] if has_connected else []
    texts.append(json.dumps(STARTS[carrier]))
    assert parsed(texts) == (carrier, CALL_IDS[carrier])
    assert parsed(texts) == await parsed_by_pipecat(texts)


@settings(max_examples=100)
@given(st.lists(MESSAGES, min_size=1, max_size=2))
async def test_edge_and_bot_find_the_same_call(messages: list[dict[str, Any]]) -> None:
    """The bot reads the same messages again; a carrier of another name would be another room."""
    texts = [json.dumps(message) for message in messages]
    assert parsed(texts) == await parsed_by_pipecat(texts)


@given(st.one_of(st.text(), st.binary(), st.recursive(st.none(), st.lists).map(json.dumps)))
def test_other_messages_name_no_call(message: str | bytes) -> None:
    """Whatever a stranger sends raises no error."""
    assert call_of(message) is None
    assert not is_eval_connect(message)


@pytest.mark.parametrize("start", ["callSid streamSid", ["callSid", "streamSid"], None, 7])
def test_start_that_is_no_object_names_no_call(start: object) -> None:
    """Text that contains the names of the keys is no start message."""
    assert call_of(json.dumps({"event": "start", "start": start})) is None


def test_call_id_that_is_no_text_is_empty() -> None:
    """An empty id is no session id, so the edge refuses such a call."""
    start = {"callSid": 7, "streamSid": "MZ1"}
    assert call_of(json.dumps({"event": "start", "start": start})) == CarrierCall("twilio", "")


@pytest.mark.parametrize(
    "changes", [{}, {"label": "other"}, {"type": "other"}, {"data": {"t": "x"}}, {"data": []}]
)
def test_first_message_of_the_eval_harness_is_known_as_to_pipecat(changes: dict[str, Any]) -> None:
    """The harness's own parser decides."""
    message = {
        "label": "rtvi-ai",
        "type": "client-message",
        "id": "1",
        "data": {"t": "eval-connect", "d": {}},
    } | changes
    expected = parse_eval_connect(message) is not None
    assert is_eval_connect(json.dumps(message)) is expected


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1))), st.floats(0, 3))
def test_held_messages_keep_their_order_and_drop_only_old_audio(
    arrivals: list[tuple[bool, float]], audio_max_s: float
) -> None:
    """All that is no audio stays, and of the audio what is young enough at the last arrival of audio."""
    held = HeldMessages(audio_max_s, max_bytes=10**6)
    now, sent = 0.0, []
    for number, (is_audio, delay_s) in enumerate(arrivals):
        now += delay_s
        message = number.to_bytes(4) if is_audio else str(number)
        held.add(message, now)
        sent.append((message, now))
    last = max((at for message, at in sent if isinstance(message, bytes)), default=0)
    kept = [m for m, at in sent if isinstance(m, str) or last - at <= audio_max_s]
    assert [held.pop() for _ in range(len(held))] == kept
    assert held.dropped == len(sent) - len(kept)
    assert not held.is_full


def test_queue_of_held_messages_is_full_by_its_bytes() -> None:
    """A client that may not lose messages is then not read."""
    held = HeldMessages(None, max_bytes=10)
    held.add(b"12345", 0)
    assert not held.is_full
    held.add("67890", 100)
    assert held.is_full
    assert held.pop() == b"12345"
    assert not held.is_full
