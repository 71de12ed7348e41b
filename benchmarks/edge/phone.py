"""A phone call of Twilio's, as light as it can be: it speaks on time, and measures what it hears.

The messages are those of https://www.twilio.com/docs/voice/media-streams/websocket-messages. A caller's phone plays
what arrives at once, and keeps what comes early: a gap is a time in which it has nothing left to play although the
bot has not finished. Pauses between utterances are no gaps: each question is answered by one utterance.
"""

import asyncio
import base64
import json
import secrets
import sys
from dataclasses import dataclass, field
from pathlib import Path

import streamdouble.audio
import websockets

FRAME_S = 0.02
BYTES_PER_S = 8_000  # mu-law
QUESTION = Path(__file__).parents[2] / "examples" / "hello.wav"
QUESTION_EVERY_S = 6.0  # the question, 0.6 s until its end is noticed, its repetition, and a pause
SILENCE = base64.b64encode(bytes([0xFF]) * 160).decode()
CONNECT_S = 30.0
APART_S = 0.25  # callers do not dial in the same millisecond


@dataclass
class Call:
    """One call: what the caller measured.

    Attributes:
        connected_s: Until the stream was open.
        first_audio_s: From there to the first message with audio.
        gaps_s: The longest gap of each utterance.
        lateness_s: The longest time by which this caller itself was late.
        failure: Why the call failed, or empty.
    """

    connected_s: float = 0.0
    first_audio_s: float | None = None
    gaps_s: list[float] = field(default_factory=list)
    lateness_s: float = 0.0
    failure: str = ""


def question_frames() -> list[str]:
    """Return the caller's question as payloads of 20 ms."""
    frames = streamdouble.audio.wav_to_ulaw_frames(QUESTION)
    return [base64.b64encode(frame).decode() for frame in frames]


def opening(call_sid: str, stream_sid: str) -> list[str]:
    """Return the first two messages of a stream."""
    start = {
        "accountSid": "AC0",
        "streamSid": stream_sid,
        "callSid": call_sid,
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {},
    }
    return [
        json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"}),
        json.dumps(
            {"event": "start", "sequenceNumber": "1", "start": start, "streamSid": stream_sid}
        ),
    ]


async def call(url: str, call_sid: str, seconds: float, *, until_heard: bool = False) -> Call:
    """Call for some seconds, or until the bot is heard; ask every few seconds."""
    measured = Call()
    stream_sid = f"MZ{secrets.token_hex(16)}"
    loop = asyncio.get_running_loop()
    asked = loop.time()
    try:
        async with websockets.connect(url, open_timeout=CONNECT_S, compression=None) as stream:
            began = loop.time()
            measured.connected_s = began - asked
            for message in opening(call_sid, stream_sid):
                await stream.send(message)
            hearing = asyncio.create_task(_hear(stream, measured, began))
            await _speak(stream, stream_sid, measured, seconds, until_heard=until_heard)
            await stream.send(json.dumps({"event": "stop", "streamSid": stream_sid}))
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
    except (OSError, TimeoutError, websockets.WebSocketException) as error:
        measured.failure = repr(error)
    return measured


async def _speak(
    stream: websockets.ClientConnection,
    stream_sid: str,
    measured: Call,
    seconds: float,
    *,
    until_heard: bool,
) -> None:
    loop = asyncio.get_running_loop()
    began, question = loop.time(), question_frames()
    every = round(QUESTION_EVERY_S / FRAME_S)
    for number in range(round(seconds / FRAME_S)):
        if until_heard and measured.first_audio_s is not None:
            return
        place = number % every if number >= every else len(question)  # first the greeting
        payload = question[place] if place < len(question) else SILENCE
        media = {"track": "inbound", "chunk": str(number + 1), "timestamp": str(number * 20)}
        message = {
            "event": "media",
            "sequenceNumber": str(number + 2),
            "media": media | {"payload": payload},
            "streamSid": stream_sid,
        }
        await stream.send(json.dumps(message))
        late = loop.time() - began - (number + 1) * FRAME_S
        measured.lateness_s = max(measured.lateness_s, late)
        if late < 0:
            await asyncio.sleep(-late)


async def _hear(stream: websockets.ClientConnection, measured: Call, began: float) -> None:
    """Keep the longest gap of each utterance; a new one begins at each multiple of ``QUESTION_EVERY_S``."""
    loop = asyncio.get_running_loop()
    utterance, played_until = -1, 0.0
    async for text in stream:
        message = json.loads(text)
        if message["event"] != "media":
            continue
        now = loop.time() - began
        if measured.first_audio_s is None:
            measured.first_audio_s = now
        if utterance != (utterance := int(now // QUESTION_EVERY_S)):
            measured.gaps_s.append(0.0)
            played_until = now
        measured.gaps_s[-1] = max(measured.gaps_s[-1], now - played_until)
        size = len(message["media"]["payload"]) * 3 // 4
        played_until = max(played_until, now) + size / BYTES_PER_S


async def _calls(streams: list[tuple[str, str]], seconds: float) -> list[Call]:
    """Begin the calls one after another; each lasts `seconds` beyond the beginning of the last one."""

    async def one(place: int, url: str, call_sid: str) -> Call:
        await asyncio.sleep(place * APART_S)
        return await call(url, call_sid, seconds + (len(streams) - 1 - place) * APART_S)

    return await asyncio.gather(*(one(place, *stream) for place, stream in enumerate(streams)))


def main() -> None:
    """Make the calls that standard input names, one stream each; print what they measured."""
    request = json.load(sys.stdin)
    measured = asyncio.run(_calls(request["streams"], request["seconds"]))
    json.dump([vars(one) for one in measured], sys.stdout)


if __name__ == "__main__":
    main()
