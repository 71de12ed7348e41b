"""A gateway with one bot behind it, both small enough to misbehave on demand; real media."""

import asyncio
import contextlib
import json
import math
import time
import wave
from array import array
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from cordboard.call import CallOptions
from cordboard.call.audio import Microphone, SoundDetector
from cordboard.call.recording import RATE
from tests_support import served


def tone(seconds: float = 0.4) -> bytes:
    """Samples of a tone."""
    step = 2 * math.pi * 440 / RATE
    return array(
        "h", (int(8000 * math.sin(step * i)) for i in range(int(RATE * seconds)))
    ).tobytes()


def sound_file(folder: Path, samples: bytes) -> Path:
    """Write samples to a file; return its path."""
    with wave.open(str(folder / "word.wav"), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(samples)
    return folder / "word.wav"


@pytest.fixture
def word(tmp_path: Path) -> Path:
    """A sound file as short as a word."""
    return sound_file(tmp_path, tone())


@dataclass
class Place:
    """The gateway and its bot; what they do, and what was asked of them."""

    url: str = ""
    greets: bool = True
    greets_after_s: float = 0
    is_talked_over: bool = False
    on_heard: Callable[[], None] | None = None
    answers: bool = True
    runs: bool = True
    ends_when: str = ""
    refuses_offers: bool = False
    reports_after_s: float = 0.0
    join_answer: tuple[int, dict[str, Any]] | None = None
    asked: list[str] = field(default_factory=list)
    joins: list[dict[str, Any]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    state: str = "absent"
    epoch: int = 1
    offer_answer: int = 0
    ice_config: dict[str, Any] = field(default_factory=dict)
    ports: set[int] = field(default_factory=set)
    dead_ports: set[int] = field(default_factory=set)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    peers: list[RTCPeerConnection] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def options(self, **over: Any) -> CallOptions:
        """Options of a call to this place."""
        return CallOptions(**({"room": "webrtc:demo", "gateway_url": self.url} | over))

    def move(self, state: str, epoch: int = 1) -> None:
        """Change the session's state."""
        self.state, self.epoch = state, max(self.epoch, epoch)
        self.changed.set()

    def lose_bot(self) -> Callable[[], None]:
        """Let no packet of the last bot leave any more, as if it were dead; return what undoes that."""
        transport = self.peers[-1].sctp.transport.transport

        async def send(_data: bytes) -> None:
            """Send nothing."""

        own, transport._send = transport._send, send

        def undo() -> None:
            transport._send = own

        return undo

    def lose_network(self) -> None:
        """Bring nothing on what the caller has open, and report no error: its address is gone."""
        self.lose_bot()
        self.dead_ports |= self.ports

    async def _receive(self, request: Request) -> None:
        assert request.client
        self.ports.add(request.client.port)
        if request.client.port in self.dead_ports:
            await self.closed.wait()

    async def join(self, request: Request) -> JSONResponse:
        await self._receive(request)
        self.asked.append("join")
        self.headers = dict(request.headers)
        self.joins.append(await request.json())
        if self.join_answer:
            return JSONResponse(self.join_answer[1], self.join_answer[0])
        self.move("running" if self.runs else "queued")
        if self.ends_when == "joined":
            self.move("failed")
        answer = {"sessionId": self.joins[-1]["sessionId"], "status": "queued"}
        if self.ice_config:
            answer["iceConfig"] = self.ice_config
        return JSONResponse(answer, 202)

    async def ice(self, request: Request) -> JSONResponse:
        await self._receive(request)
        return JSONResponse(self.ice_config)

    async def show(self, _request: Request) -> JSONResponse:
        return JSONResponse({"status": self.state, **self.reason()})

    def reason(self) -> dict[str, str]:
        return {"reason": "bot_crashed"} if self.state == "failed" else {}

    async def suspect(self, request: Request) -> JSONResponse:
        await self._receive(request)
        self.asked.append("suspect")
        return JSONResponse({"status": self.state}, 202)

    async def events(self, request: Request) -> StreamingResponse:
        await self._receive(request)

        async def stream() -> AsyncIterator[bytes]:
            await asyncio.sleep(self.reports_after_s)
            while True:
                yield (
                    b"event: state\ndata: "
                    + json.dumps(
                        {"status": self.state, "epoch": self.epoch, **self.reason()}
                    ).encode()
                    + b"\n\n"
                )
                if self.state in {"ended", "failed"}:
                    return
                self.changed.clear()
                await self.changed.wait()
                await self._receive(request)

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def leave(self, request: Request) -> JSONResponse:
        await self._receive(request)
        self.asked.append("leave")
        self.move("ended")
        return JSONResponse({"status": "ended"})

    async def offer(self, request: Request) -> JSONResponse:
        await self._receive(request)
        self.asked.append("offer")
        if self.offer_answer:
            return JSONResponse({"detail": "Not now."}, self.offer_answer)
        if self.refuses_offers:
            asyncio.get_running_loop().call_later(0.1, self.move, "failed")
            return JSONResponse({"detail": "It is ended."}, 409)
        body = await request.json()
        voice, ear = Microphone(), SoundDetector()
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.peers.append(peer)
        peer.addTrack(voice)
        peer.on("track", lambda track: self._spawn(self._bot(track, voice, ear)))
        peer.on("datachannel", lambda channel: channel.on("message", self.messages.append))
        await peer.setRemoteDescription(RTCSessionDescription(body["sdp"], body["type"]))
        await peer.setLocalDescription(await peer.createAnswer())
        local = peer.localDescription
        return JSONResponse({"sdp": local.sdp, "type": local.type, "pc_id": "1"})

    def _spawn(self, work: Any) -> None:
        self.tasks.append(asyncio.ensure_future(work))

    async def _bot(self, track: Any, voice: Microphone, ear: SoundDetector) -> None:
        """Greet; say something back whenever the other side has finished."""
        heard, has_greeted = 0, not self.greets
        await asyncio.sleep(self.greets_after_s)
        if self.greets:
            voice.speak(tone())
        while True:
            ear.add_frame(await track.recv())
            if ear.onsets and self.on_heard:
                self.on_heard()
            has_greeted |= voice.spoken_at is not None
            self.is_talked_over |= bool(ear.onsets) and not has_greeted
            if len(ear.onsets) > heard and ear.is_quiet(time.monotonic()):
                heard += 1
                if self.ends_when == "spoken":
                    self.move("failed")
                elif self.answers:
                    voice.speak(tone())

    async def close(self) -> None:
        """End what still runs."""
        self.closed.set()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for peer in self.peers:
            await peer.close()


def hand_over(place: Place, after_s: float = 0.2) -> None:
    """The bot dies, and another one, which greets, takes the session over."""
    place.lose_bot()
    place.greets = True
    place.move("queued", place.epoch + 1)
    asyncio.get_running_loop().call_later(after_s, place.move, "running")


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    """A gateway on loopback, with a bot that greets and answers."""
    here = Place()
    routes = [
        Route("/join", here.join, methods=["POST"]),
        Route("/leave", here.leave, methods=["POST"]),
        Route("/sessions/{id}", here.show),
        Route("/sessions/{id}/events", here.events),
        Route("/sessions/{id}/offer", here.offer, methods=["POST"]),
        Route("/sessions/{id}/ice", here.ice),
        Route("/sessions/{id}/suspect", here.suspect, methods=["POST"]),
    ]
    async with served(Starlette(routes=routes)) as here.url, contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(here.close)
        yield here
