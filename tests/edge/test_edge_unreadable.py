"""Messages that Pipecat's serializers cannot read: they end at the edge, and the call goes on."""

import json
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from pipecat.frames.frames import StartFrame
from pipecat.serializers.base_serializer import FrameSerializer
from pipecat.serializers.exotel import ExotelFrameSerializer
from pipecat.serializers.plivo import PlivoFrameSerializer
from pipecat.serializers.telnyx import TelnyxFrameSerializer
from pipecat.serializers.twilio import TwilioFrameSerializer

from cordboard.contract.carrier_streams import FORMS, CarrierStream, is_readable
from edge.carrier_double import STARTS, Call, media
from edge.streams_support import stream_edge
from edge.test_edge_streams import CALL, CONNECTED, MEDIA, START, Messages, events
from lines_support import Lines, lines
from tests_support import until

__all__ = ["lines"]

ODD: tuple[str | bytes, ...] = (
    b"\xff\xfe\x00",
    b'{"event": "media"}',
    "",
    "no JSON",
    "[]",
    "7",
    "1" * 5000,
    "[" * 5000,
    '{"event": "media", "media": null}',
    '{"event": "media", "media": {"payload": 7}}',
    '{"event": "media", "media": {"payload": "A"}}',
    '{"event": "media", "media": {"payload": "\\u00e9"}}',
    '{"event": "dtmf", "dtmf": []}',
    '{"event": "start", "start": "CA1"}',
)
PARTS = st.one_of(
    st.none(),
    st.integers(),
    st.text(max_size=4),
    st.lists(st.none(), max_size=1),
    st.fixed_dictionaries(
        {},
        optional={
            "payload": st.one_of(st.none(), st.integers(), st.text("AQ=é!", max_size=9)),
            "digit": st.one_of(st.none(), st.integers(), st.sampled_from(["1", "x"])),
        },
    ),
)
MESSAGES = st.one_of(
    st.binary(max_size=9),
    st.text(max_size=9),
    st.sampled_from(ODD),
    st.fixed_dictionaries(
        {"event": st.sampled_from(["media", "dtmf", "stop", "mark"])},
        optional={"media": PARTS, "dtmf": PARTS},
    ).map(json.dumps),
)


async def serializer_of(carrier: str, rate_hz: int) -> FrameSerializer:
    made: dict[str, Any] = {
        "twilio": lambda: TwilioFrameSerializer("MZ1", "CA1", "AC1", "token"),
        "telnyx": lambda: TelnyxFrameSerializer("s1", "PCMU", "PCMU", "v3:1", "key"),
        "plivo": lambda: PlivoFrameSerializer("p1", "c1", "MA1", "token"),
        "exotel": lambda: ExotelFrameSerializer("e1", "c2"),
    }
    serializer: FrameSerializer = made[carrier]()
    await serializer.setup(StartFrame(audio_in_sample_rate=rate_hz))
    return serializer


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.carrier)
@settings(max_examples=150, deadline=None)
@given(messages=st.lists(MESSAGES, max_size=8), rate_hz=st.sampled_from([8000, 16000]))
async def test_pipecats_serializers_read_all_that_passes(
    form: CarrierStream, messages: list[str | bytes], rate_hz: int
) -> None:
    """Whatever they raise would end the loop in which a bot receives."""
    serializer = await serializer_of(form.carrier, rate_hz)
    for message in messages:
        if is_readable(message, form):
            await serializer.deserialize(message)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.carrier)
def test_documented_messages_pass_and_odd_ones_do_not(form: CarrierStream) -> None:
    """The start of each carrier, audio, and a key that was pressed."""
    client: Any = None
    call = Call(form.carrier, CALL, [], client, stream_id="MZ1")
    sound = media(call, b"\xff" * 320, 1)
    key = {"event": "dtmf", "dtmf": {"track": "inbound_track", "digit": "1"}}
    for message in (*STARTS[form.carrier](call), sound, key, {"event": "stop", "stop": {}}):
        assert is_readable(json.dumps(message), form)
    assert [message for message in ODD if is_readable(message, form)] == []
    odd_length = media(call, b"\xff", 1)
    assert is_readable(json.dumps(odd_length), form) is (form.carrier != "exotel")


async def send(websocket: aiohttp.ClientWebSocketResponse, message: str | bytes) -> None:
    if isinstance(message, str):
        await websocket.send_str(message)
    else:
        await websocket.send_bytes(message)


@pytest.mark.parametrize("path", ["/phone/stream", "/ws"])
async def test_odd_messages_of_a_carrier_end_at_the_edge(
    monkeypatch: Any, lines: Lines, path: str
) -> None:
    """Before the start, while the bot starts, and during the call; with a token and without one."""
    got: list[str | bytes] = []

    async def bot(websocket: web.WebSocketResponse) -> None:
        while (message := await websocket.receive()).type in {Messages.TEXT, Messages.BINARY}:
            got.append(message.data)

    async with stream_edge(monkeypatch) as edge:
        edge.runner.bot = bot
        edge.gateway.set("starting")
        token = edge.token(CALL, f"phone:twilio:{CALL}")
        websocket = await edge.open(f"{path}/{token}" if path != "/ws" else path)
        first = ODD if path != "/ws" else ("[]",)
        for message in (*first, START, MEDIA, *ODD):
            await send(websocket, message)
        edge.gateway.set("running")
        await until(lambda: got == [START, MEDIA])
        for message in (*ODD, MEDIA):
            await send(websocket, message)
        await until(lambda: got == [START, MEDIA, MEDIA])
        await websocket.close()
        await until(lambda: events(lines, "stream.closed"))
    meta = events(lines, "stream.closed")[0]["meta"]
    assert (meta["messages_in"], meta["unreadable"]) == (3, len(first) + 2 * len(ODD))
    assert sum("no bot can read" in line["message"] for line in lines()) == 1


@pytest.mark.parametrize("room", ["phone:other:1", "ws:call-1"])
async def test_other_clients_may_send_anything(monkeypatch: Any, room: str) -> None:
    """Only four carriers are known to send nothing but JSON objects."""
    async with stream_edge(monkeypatch) as edge:
        websocket = await edge.open(f"/ws/{edge.token('call-1', room)}")
        for message in (*ODD, CONNECTED):
            await send(websocket, message)
            assert (await websocket.receive()).data == message
        await websocket.close()
