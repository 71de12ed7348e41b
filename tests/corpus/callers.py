"""Callers that hold a conversation with a bot: over WebRTC, a client's WebSocket, or a carrier's stream.

Each waits for the bot's greeting, asks its question, and waits for the answer.
"""

import asyncio
import contextlib
import re
import sys
import wave
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import aiohttp
import streamdouble.api
import streamdouble.audio
import websockets
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from av import AudioFrame
from pipecat.serializers.protobuf import ProtobufFrameSerializer
from streamdouble.session import SessionConfig

from tests_support import until

ROOT = Path(__file__).parents[2]
QUESTION = ROOT / "examples" / "hello.wav"
RATE_HZ = 16_000
CHUNK = RATE_HZ // 50  # 20 ms
LOUD = 300  # of 32767
QUIET_S = 0.4
GREETING_S = 20
EVAL_S = 90
SILENCE_ULAW = bytes([0xFF]) * 160


@dataclass(frozen=True)
class Conversation:
    """What a caller heard.

    Attributes:
        utterances: How often the bot spoke.
        session_id: The session's id, where the caller learnt it.
    """

    utterances: int
    session_id: str = ""


def question_audio() -> bytes:
    """Return the caller's question as 16-bit mono at ``RATE_HZ``."""
    with wave.open(str(QUESTION)) as file:
        assert file.getframerate() == RATE_HZ
        return bytes(file.readframes(file.getnframes()))


class Ear:
    """Counts utterances in the audio that the bot sends."""

    def __init__(self) -> None:
        self.utterances = 0
        self._loud_at = -QUIET_S

    def hear(self, audio: bytes) -> None:
        """Take 16-bit audio as it arrives."""
        samples = array("h", audio[: len(audio) // 2 * 2])
        if not samples or max(map(abs, samples)) < LOUD:
            return
        now = asyncio.get_running_loop().time()
        if now - self._loud_at > QUIET_S:
            self.utterances += 1
        self._loud_at = now

    async def utterance(self, number: int) -> None:
        """Wait until the bot has begun its utterance `number`, from 1, and ended it."""
        await until(lambda: self.utterances >= number and self._quiet_s() > QUIET_S, GREETING_S)

    def _quiet_s(self) -> float:
        return asyncio.get_running_loop().time() - self._loud_at


class Mouth(MediaStreamTrack):  # type: ignore[misc]  # aiortc ships without types
    """A microphone: silence, until a question is asked."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._pending = b""
        self._sent = 0
        self._began = 0.0

    def ask(self) -> None:
        """Speak the question."""
        self._pending = question_audio()

    def next_chunk(self) -> bytes:
        """Return the next 20 ms."""
        chunk, self._pending = self._pending[: CHUNK * 2], self._pending[CHUNK * 2 :]
        return chunk.ljust(CHUNK * 2, b"\0")

    async def recv(self) -> Any:
        """Return the next frame when it is due."""
        loop = asyncio.get_running_loop()
        self._began = self._began or loop.time()
        await asyncio.sleep(self._began + self._sent * 0.02 - loop.time())
        frame = AudioFrame(format="s16", layout="mono", samples=CHUNK)
        frame.planes[0].update(self.next_chunk())
        frame.sample_rate, frame.pts = RATE_HZ, self._sent * CHUNK
        frame.time_base = Fraction(1, RATE_HZ)
        self._sent += 1
        return frame


async def start(edge: str, body: dict[str, Any], *, key: str = "") -> dict[str, Any]:
    """Ask the edge for a session as Pipecat's clients do; return its answer."""
    async with (
        aiohttp.ClientSession(headers=_headers(key)) as client,
        client.post(f"{edge}/start", json=body) as answer,
    ):
        assert answer.status < 300, await answer.text()
        return dict(await answer.json())


async def converse(ear: Ear, mouth: Mouth, greetings: int = 1) -> Conversation:
    """Hear the greeting if the bot has one, ask, hear the answer if there is one."""
    await ear.utterance(greetings)
    mouth.ask()
    with contextlib.suppress(AssertionError):  # some bots only greet
        await ear.utterance(greetings + 1)
    return Conversation(ear.utterances)


def _headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


async def call_by_webrtc(edge: str, *, key: str = "", greetings: int = 1) -> Conversation:
    """Hold a conversation over a peer connection, set up as the stock transport does."""
    answer = await start(edge, {"transport": "webrtc"}, key=key)
    offer_url = f"{edge}/sessions/{answer['sessionId']}/api/offer"
    async with connected(offer_url, key=key) as (ear, mouth):
        heard = await converse(ear, mouth, greetings)
    return Conversation(heard.utterances, answer["sessionId"])


@asynccontextmanager
async def connected(offer_url: str, *, key: str = "") -> AsyncIterator[tuple[Ear, Mouth]]:
    """Be connected to the bot of a session by a peer connection, for a block."""
    peer, ear, mouth = RTCPeerConnection(), Ear(), Mouth()
    peer.addTrack(mouth)
    peer.addTransceiver("video", direction="recvonly")
    peer.createDataChannel("chat")
    tasks: list[asyncio.Task[None]] = []

    @peer.on("track")  # type: ignore[untyped-decorator]
    def on_track(track: Any) -> None:
        if track.kind == "audio":
            tasks.append(asyncio.create_task(_listen(track, ear)))

    try:
        await peer.setLocalDescription(await peer.createOffer())
        await peer.setRemoteDescription(await _exchange(offer_url, key, peer.localDescription))
        yield ear, mouth
    finally:
        for task in tasks:
            task.cancel()
        await peer.close()


async def _listen(track: Any, ear: Ear) -> None:
    while True:
        frame = await track.recv()
        ear.hear(bytes(frame.planes[0]))


async def _exchange(url: str, key: str, offer: RTCSessionDescription) -> RTCSessionDescription:
    body = {"sdp": offer.sdp, "type": offer.type, "pc_id": None, "restart_pc": False}
    async with (
        aiohttp.ClientSession(headers=_headers(key)) as client,
        client.post(url, json=body) as reply,
    ):
        assert reply.status == 200, await reply.text()
        answer = await reply.json()
    return RTCSessionDescription(answer["sdp"], answer["type"])


async def call_by_websocket(url: str) -> Conversation:
    """Hold a conversation in protobuf frames, as the stock WebSocket transport does."""
    ear, mouth = Ear(), Mouth()
    async with websockets.connect(url, max_size=None) as stream:
        hearing = asyncio.create_task(_hear_frames(stream, ear))
        speaking = asyncio.create_task(_speak_frames(stream, mouth))
        try:
            return await converse(ear, mouth)
        finally:
            hearing.cancel()
            speaking.cancel()


async def _hear_frames(stream: websockets.ClientConnection, ear: Ear) -> None:
    serializer = ProtobufFrameSerializer()
    async for message in stream:
        frame = await serializer.deserialize(message)
        if audio := getattr(frame, "audio", None):
            ear.hear(audio)


async def _speak_frames(stream: websockets.ClientConnection, mouth: Mouth) -> None:
    from pipecat.frames.frames import OutputAudioRawFrame

    serializer = ProtobufFrameSerializer()
    async for chunk in _every_20_ms(mouth):
        frame = OutputAudioRawFrame(audio=chunk, sample_rate=RATE_HZ, num_channels=1)
        await stream.send(await serializer.serialize(frame))


async def _every_20_ms(mouth: Mouth) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        yield mouth.next_chunk()
        due += 0.02
        await asyncio.sleep(due - loop.time())


async def call_by_phone(url: str) -> streamdouble.api.CallReport:
    """Hold a conversation as a phone call of Twilio: 2 s for the greeting, the question, 4 s for the answer."""
    frames = [
        *[SILENCE_ULAW] * 100,
        *streamdouble.audio.wav_to_ulaw_frames(QUESTION),
        *[SILENCE_ULAW] * 200,
    ]
    return await streamdouble.api.call(url, frames=frames, config=SessionConfig(max_drain_s=2))


def write_scenario(folder: Path) -> Path:
    """Write and return the scenario of docs/websockets.md for Pipecat's eval harness."""
    page = (ROOT / "docs" / "websockets.md").read_text(encoding="utf-8")
    (scenario,) = re.findall(r"^```yaml\n(name: question.*?)^```", page, re.MULTILINE | re.DOTALL)
    file = folder / "scenario.yaml"
    file.write_text(scenario)
    return file


async def run_eval(scenario: Path, edge: str) -> tuple[int, str]:
    """Run Pipecat's eval harness against the edge; return its exit status and what it printed."""
    url = f"ws{edge.removeprefix('http')}/ws"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pipecat.evals", "run", str(scenario)),
        *("--bot-url", url, "--logs-dir", str(scenario.parent)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(EVAL_S):
        output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()
