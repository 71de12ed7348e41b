"""A phone call of Twilio's, as light as it can be: it speaks on time, and measures what it hears.

The messages are those of https://www.twilio.com/docs/voice/media-streams/websocket-messages. A caller's phone plays
what arrives at once, and keeps what comes early: a gap is a time in which it has nothing left to play although the
bot has not finished. Pauses between utterances are no gaps: each question is answered by one utterance.
"""

import asyncio
import base64
import contextlib
import functools
import json
import os
import secrets
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import streamdouble.audio

FRAME_S = 0.02
BYTES_PER_S = 8_000  # mu-law
QUESTION = Path(__file__).parents[2] / "examples" / "hello.wav"
QUESTION_EVERY_S = 6.0  # the question, 0.6 s until its end is noticed, its repetition, and a pause
SILENCE = base64.b64encode(bytes([0xFF]) * 160).decode()
CONNECT_S = 30.0
APART_S = 0.25  # callers do not dial in the same millisecond

# Of a WebSocket (RFC 6455, section 5.2): the first two bytes of a frame, and its kinds.
_FINAL, _MASKED = 0x80, 0x80
_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10
_LONG = 126  # from this size on, the size has two bytes of its own


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


@functools.cache
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
    address = urlsplit(url)
    try:
        async with asyncio.timeout(CONNECT_S):
            _, line = await loop.create_connection(
                lambda: _Line(measured), str(address.hostname), address.port or 80
            )
            await line.open(address.netloc, address.path)
        measured.connected_s = line.began_at - asked
        for message in opening(call_sid, stream_sid):
            line.send(message)
        await _speak(line, stream_sid, measured, seconds, until_heard=until_heard)
        line.send(json.dumps({"event": "stop", "streamSid": stream_sid}))
        line.close()
    except (OSError, TimeoutError) as error:
        measured.failure = repr(error)
    return measured


class _Line(asyncio.Protocol):
    """A WebSocket (RFC 6455) that can do just what a call needs: the callers share the processors with the bots.

    Args:
        measured: What is heard is noted here.

    Attributes:
        began_at: The time of the loop at which the WebSocket was open.
    """

    def __init__(self, measured: Call) -> None:
        self.began_at = 0.0
        self._measured = measured
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._received = b""
        self._utterance, self._played_until = -1, 0.0
        self._closed: Exception | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = exc or ConnectionError("the call was ended by the other side")
        if not self._opened.done():
            self._opened.set_exception(self._closed)

    async def open(self, host: str, path: str) -> None:
        """Open the WebSocket."""
        assert self._transport
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        self._transport.write(
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        await self._opened

    def send(self, text: str) -> None:
        """Send a text. The key that masks it is zero, which changes nothing of it."""
        self._send(_TEXT, text.encode())

    def close(self) -> None:
        """Close the WebSocket."""
        self._send(_CLOSE, (1000).to_bytes(2))
        assert self._transport
        self._transport.close()

    def _send(self, kind: int, data: bytes) -> None:
        if self._closed is not None:
            raise self._closed
        assert self._transport
        size = len(data)
        length = bytes([_MASKED | size]) if size < _LONG else b"\xfe" + size.to_bytes(2)
        self._transport.write(bytes([_FINAL | kind]) + length + bytes(4) + data)

    def data_received(self, data: bytes) -> None:
        data = self._received + data
        if not self._opened.done():
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                self._received = head
                return
            if b" 101 " not in head.partition(b"\r\n")[0]:
                self._opened.set_exception(ConnectionError(head[:200]))
                return
            self.began_at = self._loop.time()
            self._opened.set_result(None)
        while len(data) >= 4:
            size, start = data[1], 2
            if size >= _LONG:  # no message has more than 64 KiB
                size, start = int.from_bytes(data[2:4]), 4
            if len(data) < start + size:
                break
            self._take(data[0] & 0x0F, data[start : start + size])
            data = data[start + size :]
        self._received = data

    def _take(self, kind: int, content: bytes) -> None:
        if kind == _PING:
            self._send(_PONG, content)
        elif kind == _CLOSE:
            self._send(_CLOSE, content)
            self._closed = ConnectionError(f"the other side ended the call: {content!r}")
        elif kind == _TEXT and b'"media"' in content:
            self._hear(len(json.loads(content)["media"]["payload"]) * 3 // 4)

    def _hear(self, size: int) -> None:
        """Keep the longest gap of each utterance; a new one begins at each multiple of ``QUESTION_EVERY_S``."""
        measured = self._measured
        now = self._loop.time() - self.began_at
        if measured.first_audio_s is None:
            measured.first_audio_s = now
        if self._utterance != (utterance := int(now // QUESTION_EVERY_S)):
            self._utterance, self._played_until = utterance, now
            measured.gaps_s.append(0.0)
        measured.gaps_s[-1] = max(measured.gaps_s[-1], now - self._played_until)
        self._played_until = max(self._played_until, now) + size / BYTES_PER_S


async def _speak(
    line: _Line, stream_sid: str, measured: Call, seconds: float, *, until_heard: bool
) -> None:
    loop = asyncio.get_running_loop()
    began, question = loop.time(), question_frames()
    every = round(QUESTION_EVERY_S / FRAME_S)
    for number in range(round(seconds / FRAME_S)):
        if until_heard and measured.first_audio_s is not None:
            return
        place = number % every if number >= every else len(question)  # first the greeting
        payload = question[place] if place < len(question) else SILENCE
        line.send(
            f'{{"event":"media","sequenceNumber":"{number + 2}","media":{{"track":"inbound",'
            f'"chunk":"{number + 1}","timestamp":"{number * 20}","payload":"{payload}"}},'
            f'"streamSid":"{stream_sid}"}}'
        )
        late = loop.time() - began - (number + 1) * FRAME_S
        measured.lateness_s = max(measured.lateness_s, late)
        if late < 0:
            await asyncio.sleep(-late)


async def _calls(streams: list[tuple[str, str]], seconds: float) -> list[Call]:
    """Begin the calls one after another; each lasts `seconds` beyond the beginning of the last one."""

    async def one(place: int, url: str, call_sid: str) -> Call:
        await asyncio.sleep(place * APART_S)
        return await call(url, call_sid, seconds + (len(streams) - 1 - place) * APART_S)

    return await asyncio.gather(*(one(place, *stream) for place, stream in enumerate(streams)))


def main() -> None:
    """Make the calls that standard input names, one stream each; print what they measured."""
    request = json.load(sys.stdin)
    # The callers of real calls use other machines: those that wait for a processor here would measure themselves.
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    measured = asyncio.run(_calls(request["streams"], request["seconds"]))
    json.dump([vars(one) for one in measured], sys.stdout)


if __name__ == "__main__":
    main()
