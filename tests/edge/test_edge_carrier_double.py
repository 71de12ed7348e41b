"""The carriers' messages of the double, against Pipecat's own parser and serializers."""

import json
from typing import Any

import pytest
from pipecat.frames.frames import InputAudioRawFrame, OutputAudioRawFrame, StartFrame
from pipecat.runner.utils import parse_telephony_websocket
from pipecat.serializers.exotel import ExotelFrameSerializer
from pipecat.serializers.plivo import PlivoFrameSerializer
from pipecat.serializers.telnyx import TelnyxFrameSerializer
from pipecat.serializers.twilio import TwilioFrameSerializer

from edge.carrier_double import ID_KEYS, SILENCE, STARTS, Call, audio_of, check_id, media
from edge.phone_support import OURS, THEIRS
from edge.test_edge_first_messages import Stream

NUMBERS = {"from_number": THEIRS, "to_number": OURS}


def call(carrier: str) -> Call:
    client: Any = None
    return Call(carrier, "call-1", [], client, stream_id="stream-1", parameters=NUMBERS)


def serializer(carrier: str) -> Any:
    """Return Pipecat's serializer as `create_transport` makes it, which ends no call."""
    if carrier == "twilio":
        no_hang_up = TwilioFrameSerializer.InputParams(auto_hang_up=False)
        return TwilioFrameSerializer("stream-1", call_sid="call-1", params=no_hang_up)
    if carrier == "telnyx":
        telnyx = TelnyxFrameSerializer.InputParams(auto_hang_up=False)
        return TelnyxFrameSerializer(
            "stream-1", outbound_encoding="PCMU", inbound_encoding="PCMU", params=telnyx
        )
    if carrier == "plivo":
        plivo = PlivoFrameSerializer.InputParams(auto_hang_up=False)
        return PlivoFrameSerializer("stream-1", call_id="call-1", params=plivo)
    return ExotelFrameSerializer("stream-1", call_sid="call-1")


@pytest.mark.parametrize("carrier", STARTS)
async def test_pipecat_recognizes_the_first_messages(carrier: str) -> None:
    """The carrier, the call, the stream, and the two numbers where the carrier sends them."""
    texts = [json.dumps(message) for message in STARTS[carrier](call(carrier))]
    found, data = await parse_telephony_websocket(Stream(texts))
    assert (found, data.call_id, data.stream_id) == (carrier, "call-1", "stream-1")
    if carrier != "plivo":
        assert (data.from_number, data.to_number) == (THEIRS, OURS)


@pytest.mark.parametrize("carrier", STARTS)
async def test_pipecat_reads_and_writes_the_audio(carrier: str) -> None:
    """What the double sends is audio for Pipecat, and what Pipecat sends is audio for the double."""
    codec = serializer(carrier)
    await codec.setup(StartFrame(audio_in_sample_rate=8000, audio_out_sample_rate=8000))
    text = json.dumps(media(call(carrier), SILENCE[carrier], 1))
    frame = await codec.deserialize(text)
    assert isinstance(frame, InputAudioRawFrame)
    assert len(frame.audio) == (3200 if carrier == "exotel" else 320)
    spoken = OutputAudioRawFrame(audio=bytes(320), sample_rate=8000, num_channels=1)
    answer = json.loads(await codec.serialize(spoken))
    assert len(audio_of(carrier, answer) or b"") == (320 if carrier == "exotel" else 160)


@pytest.mark.parametrize("carrier", STARTS)
def test_the_double_refuses_what_a_carrier_refuses(carrier: str) -> None:
    """Twilio closes a stream for any other message (error 31924)."""
    with pytest.raises(AssertionError):
        audio_of(carrier, {"event": "hello"})
    with pytest.raises(AssertionError):
        check_id(call(carrier), {ID_KEYS[carrier]: "the id of another stream"})
