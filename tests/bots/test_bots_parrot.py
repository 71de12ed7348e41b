"""The built-in bot, reached by the streams of carriers and by a client's WebSocket."""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import streamdouble.api
import streamdouble.audio
import websockets
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADParams, VADState
from pipecat.runner.types import WebSocketRunnerArguments
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from streamdouble.session import SessionConfig

from cordboard.bots import prepared_silero
from cordboard.bots.parrot import GREETINGS, bot
from tests_support import served_with_websockets

ROOT = Path(__file__).parents[2]
SILENCE = [bytes([0xFF]) * 160] * 25  # half a second, in mu-law
CONNECTED = {"event": "connected", "protocol": "Call", "version": "1.0.0"}
STARTS: dict[str, list[dict[str, Any]]] = {
    "telnyx": [
        CONNECTED,
        {
            "event": "start",
            "sequence_number": "1",
            "stream_id": "st-1",
            "start": {
                "call_control_id": "v3:call-1",
                "media_format": {"encoding": "PCMU", "sample_rate": 8000, "channels": 1},
                "from": "+15550001",
                "to": "+15550002",
            },
        },
    ],
    "plivo": [
        {
            "event": "start",
            "sequenceNumber": 0,
            "start": {
                "streamId": "st-1",
                "callId": "call-1",
                "accountId": "MA1",
                "tracks": ["inbound"],
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000},
            },
        },
        {"event": "media", "media": {"payload": "/w=="}},
    ],
    "exotel": [
        CONNECTED,
        {
            "event": "start",
            "stream_sid": "st-1",
            "start": {
                "stream_sid": "st-1",
                "call_sid": "call-1",
                "account_sid": "ex-1",
                "from": "0001",
                "to": "0002",
            },
        },
    ],
}
SPEAKS = {"telnyx": "media", "plivo": "playAudio", "exotel": "media"}


@contextlib.asynccontextmanager
async def serve_parrot(
    failures: list[BaseException], transport_type: str | None = None
) -> AsyncIterator[str]:
    """Serve the bot to each WebSocket for a block; keep what it raises."""

    async def stream(websocket: WebSocket) -> None:
        await websocket.accept()
        arguments = WebSocketRunnerArguments(websocket=websocket, transport_type=transport_type)
        try:
            await bot(arguments)
        except ValueError as error:
            failures.append(error)

    site = Starlette(routes=[WebSocketRoute("/ws", stream)])
    async with served_with_websockets(site) as url:
        yield f"ws{url.removeprefix('http')}/ws"


async def test_twilio_caller_is_greeted_in_messages_of_20_ms_without_an_account() -> None:
    """The stream holds nothing that Twilio refuses, and needs no account's keys."""
    failures: list[BaseException] = []
    async with serve_parrot(failures) as url:
        report = await streamdouble.api.call(
            url, frames=SILENCE, config=SessionConfig(max_drain_s=1)
        )
    assert report.violations == []
    assert report.result.events
    assert report.metrics.media_frames_received > 10
    per_message = report.metrics.audio_received_ms / report.metrics.media_frames_received
    assert per_message == pytest.approx(20)
    assert failures == []


def test_greeting_is_the_same_at_each_rate() -> None:
    """Both recordings of the greeting have their rate: they last equally long."""
    seconds = [len(audio) / 2 / rate_hz for rate_hz, audio in GREETINGS.items()]
    assert seconds == [pytest.approx(3.717, abs=0.001)] * 2


async def test_caller_hears_the_greeting_and_then_the_own_question() -> None:
    """The voice detector, which is loaded before the call, finds where the question ends."""
    failures: list[BaseException] = []
    question = streamdouble.audio.wav_to_ulaw_frames(ROOT / "examples" / "hello.wav")
    frames = [*SILENCE * 9, *question, *SILENCE * 2]
    greeting_ms = len(GREETINGS[8_000]) / 16
    async with serve_parrot(failures) as url:
        report = await streamdouble.api.call(
            url, frames=frames, config=SessionConfig(max_drain_s=8)
        )
    assert report.metrics.audio_received_ms > greeting_ms + 20 * len(question)
    assert failures == []


@pytest.mark.parametrize("carrier", sorted(STARTS))
async def test_callers_of_other_carriers_are_greeted(carrier: str) -> None:
    failures: list[BaseException] = []
    async with serve_parrot(failures) as url, websockets.connect(url) as stream:
        for message in STARTS[carrier]:
            await stream.send(json.dumps(message))
        async with asyncio.timeout(20):
            answer = json.loads(await stream.recv())
    assert answer["event"] == SPEAKS[carrier]
    assert failures == []


async def test_client_on_a_websocket_is_greeted_in_protobuf() -> None:
    failures: list[BaseException] = []
    async with serve_parrot(failures, "websocket") as url, websockets.connect(url) as stream:
        async with asyncio.timeout(20):
            while not isinstance(message := await stream.recv(), bytes) or len(message) < 640:
                pass
    assert failures == []


async def test_stream_of_an_unknown_carrier_is_refused_by_name() -> None:
    failures: list[BaseException] = []
    async with serve_parrot(failures) as url, websockets.connect(url) as stream:
        for message in ({"event": "hello"}, {"event": "world"}):
            await stream.send(json.dumps(message))
        with pytest.raises(websockets.ConnectionClosed):
            await stream.recv()
    assert "expected twilio, telnyx, plivo or exotel, got 'unknown'" in str(failures[0])


async def test_first_analyzer_of_a_process_needs_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Further ones, as in a process with many calls, leave the event loop free while the model works."""
    monkeypatch.setattr(prepared_silero, "_PREPARED", [SileroVADAnalyzer()])
    threads = []

    class Noted(prepared_silero.PreparedSileroAnalyzer):
        def voice_confidence(self, buffer: bytes) -> float:
            """Note the thread."""
            threads.append(threading.get_ident())
            return super().voice_confidence(buffer)

    for _ in range(2):
        analyzer = Noted(VADParams())
        analyzer.set_sample_rate(8_000)
        assert await analyzer.analyze_audio(bytes(2 * 256)) == VADState.QUIET
        await analyzer.cleanup()
    assert [thread == threading.get_ident() for thread in threads] == [True, False]
