"""Callers that record what they hear: the room page in Chromium, `cordboard call`, a telephone at Twilio.

Each call is an asynchronous context manager: inside the block the bot speaks; after it the sound is there.
"""

import asyncio
import base64
import contextlib
import itertools
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Self

from survival.call_plane import Plane
from survival.sound import Sound, from_container, from_packets, from_wav

from browser.browser_support import chromium, open_room, spoken
from edge.carrier_double import Call
from tests_support import until

# What the page plays, on the time line of an AudioContext: the stream of its audio element, whichever that is.
RECORD = """
const context = new AudioContext();
const target = context.createMediaStreamDestination();
// Something must play all the time, or the recorder leaves silence out.
const floor = new ConstantSourceNode(context, { offset: 0 });
floor.connect(target); floor.start();
const property = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, "srcObject");
const sources = new Map();
Object.defineProperty(HTMLMediaElement.prototype, "srcObject", {
  get() { return property.get.call(this); },
  set(stream) {
    property.set.call(this, stream);
    if (this.muted || this.tagName !== "AUDIO") return;
    sources.get(this)?.disconnect();
    sources.delete(this);
    if (stream instanceof MediaStream && stream.getAudioTracks().length) {
      const source = context.createMediaStreamSource(stream);
      source.connect(target);
      sources.set(this, source);
    }
  },
});
window.record = () => {
  context.resume();
  const chunks = [];
  const recorder = new MediaRecorder(target.stream, { mimeType: "audio/webm;codecs=opus" });
  recorder.ondataavailable = (event) => chunks.push(event.data);
  recorder.start();
  window.recorded = () => new Promise((resolve) => {
    recorder.onstop = () => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result.split(",")[1]);
      reader.readAsDataURL(new Blob(chunks));
    };
    recorder.stop();
  });
};
"""


@dataclass
class Heard:
    """One call.

    Attributes:
        session_id: Its session.
        sound: What its caller has heard; there when the call is over.
        parts: How many parts of sound have arrived, where that can be told during the call.
    """

    session_id: str
    sound: Sound | None = None
    parts: Callable[[], int] = lambda: 0


NewCall = Callable[[], AbstractAsyncContextManager[Heard]]
_numbers = itertools.count(1)


@contextlib.asynccontextmanager
async def browser(plane: Plane) -> AsyncIterator[NewCall]:
    """Call from the room page, as a person would who calls again."""
    microphone = spoken(plane.directory, after_s=7200)
    words = ("--autoplay-policy=no-user-gesture-required",)
    async with chromium(microphone, *words) as opened:
        context = await opened.new_context()
        room = await open_room(context, plane.interface.url, "Ada", script=RECORD)

        @contextlib.asynccontextmanager
        async def call() -> AsyncIterator[Heard]:
            await room.page.evaluate("window.record()")
            heard = Heard(await room.call())
            yield heard
            if await room.page.is_visible("#leave"):
                await room.page.click("#leave")
            await room.ended()
            data = base64.b64decode(await room.page.evaluate("window.recorded()"))
            heard.sound = from_container(data)

        yield call


@contextlib.asynccontextmanager
async def command(plane: Plane) -> AsyncIterator[NewCall]:
    """Call with `cordboard call`, which records."""

    @contextlib.asynccontextmanager
    async def call() -> AsyncIterator[Heard]:
        heard = Heard(f"call-{next(_numbers)}")
        file = plane.directory / f"{heard.session_id}.wav"
        words = (f"webrtc:{heard.session_id}", "--session", heard.session_id, "--record", str(file))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cordboard", "call", *words),
            *("--gateway", plane.gateway.url, "--seconds", "60", "-o", "json"),
            env=plane.processes.environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        ended = asyncio.create_task(process.communicate())
        try:
            await plane.speaking(heard.session_id)
        except AssertionError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            print(f"A call has begun without sound:\n{(await ended)[0].decode()}")
            sys.exit(plane.lines(heard.session_id))
        yield heard
        await plane.leave(heard.session_id)
        await asyncio.wait_for(ended, 60)
        heard.sound = from_wav(file) if file.exists() else None

    yield call


class Speaker(bytearray):
    """The audio of a telephone, with the time at which each part arrived."""

    def __init__(self) -> None:
        super().__init__()
        self.packets: list[tuple[float, bytes]] = []

    def __iadd__(self, payload: bytes) -> Self:  # type: ignore[misc,override]
        self.packets.append((time.monotonic(), bytes(payload)))
        return self


@contextlib.asynccontextmanager
async def phone(plane: Plane) -> AsyncIterator[NewCall]:
    """Call through Twilio, whose requests reach the edges behind one address."""

    @contextlib.asynccontextmanager
    async def call() -> AsyncIterator[Heard]:
        speaker = Speaker()
        heard = Heard(f"CA{next(_numbers):032x}", parts=lambda: len(speaker.packets))
        edges = [edge.url for edge in plane.edges]
        line = Call("twilio", heard.session_id, edges, plane.client, audio=speaker)
        running = asyncio.create_task(line.run())
        await until(lambda: len(speaker.packets) > 25 or running.done(), 60)
        yield heard
        if not running.done():
            await line.hang_up()
        await asyncio.wait_for(running, 60)
        heard.sound = from_packets(speaker.packets)

    yield call


CALLERS: dict[str, Callable[[Plane], AbstractAsyncContextManager[NewCall]]] = {
    "chromium": browser,
    "call": command,
    "phone": phone,
}
