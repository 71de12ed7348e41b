"""Calls from the room page in a real Chromium, and an independent witness of what is sent and played there."""

import asyncio
import base64
import time
from pathlib import Path

import numpy as np
from heard.known_sound import Tape

from browser.browser_support import Room, chromium, open_room

KEEP_MICROPHONE = """
const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = async (...words) => (window.microphone = await open(...words));
"""
# A page without worklets measures nothing of what is heard: the other one costs so much more.
NO_WORKLETS = "delete window.AudioWorkletNode;"
# The chunks of each side as the browser hands them out, with their times: Web Audio, by which the page measures, is not
# asked. Three samples become one of 16 kHz.
RECORD = """() => {
  const listen = async (track) => {
    const chunks = [];
    window.tapes.push(chunks);
    const reader = new MediaStreamTrackProcessor({ track, maxBufferSize: 10_000 }).readable.getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      const at = performance.timeOrigin + performance.now();
      const sound = new Float32Array(part.value.numberOfFrames);
      part.value.copyTo(sound, { planeIndex: 0, format: "f32-planar" });
      const times = part.value.sampleRate / 16000;
      part.value.close();
      const samples = new Int16Array(sound.length / times);
      for (let to = 0; to < samples.length; to += 1) {
        let sum = 0;
        for (let from = to * times; from < (to + 1) * times; from += 1) sum += sound[from];
        samples[to] = Math.max(-1, Math.min(1, sum / times)) * 32767;
      }
      chunks.push([at, samples]);
    }
  };
  window.tapes = [];
  listen(window.microphone.getAudioTracks()[0]);
  listen(window.peers.at(-1).getReceivers()[0].track);
}"""
TAKE = """() => window.tapes.map((chunks) => chunks.splice(0).map(([at, samples]) =>
  [at / 1000, btoa(String.fromCharCode(...new Uint8Array(samples.buffer)))]))"""
TAKE_EVERY_S = 5.0


async def record(url: str, microphone: Path, seconds: float) -> tuple[str, Tape, Tape]:
    """Call for some seconds; return the session id, what was sent, and what was played."""
    sent, played = Tape(), Tape()
    async with chromium(microphone) as browser:
        context = await browser.new_context()
        room = await open_room(context, f"{url}/rooms/heard", "Bench", script=KEEP_MICROPHONE)
        session_id = await room.call()
        await room.page.evaluate(RECORD)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await asyncio.sleep(min(TAKE_EVERY_S, max(0.0, until - time.monotonic())))
            for tape, chunks in zip((sent, played), await room.page.evaluate(TAKE), strict=True):
                for ended, data in chunks:
                    tape.add(ended, np.frombuffer(base64.b64decode(data), dtype="<i2"))
        await room.leave()
        await room.ended_as(session_id)
        await asyncio.sleep(2)  # its last lines
    return session_id, sent, played


async def costs(url: str, microphone: Path, seconds: float) -> tuple[float, float]:
    """Return the processor time of the browser in a call, as a share of a core, with and without the measurement."""
    shares: dict[bool, list[float]] = {True: [], False: []}
    async with chromium(microphone) as browser:
        for measures in (True, False, False, True):
            context = await browser.new_context()
            script = "" if measures else NO_WORKLETS
            room = await open_room(context, f"{url}/rooms/costs", "Bench", script=script)
            await room.call()
            shares[measures].append(await _share(room, seconds))
            await room.leave()
            await context.close()
    return sum(shares[True]) / 2, sum(shares[False]) / 2


async def _share(room: Room, seconds: float) -> float:
    tools = await room.context.browser.new_browser_cdp_session()  # type: ignore[union-attr]

    async def used_s() -> float:
        told = await tools.send("SystemInfo.getProcessInfo")
        return sum(float(one["cpuTime"]) for one in told["processInfo"])

    before, since = await used_s(), time.monotonic()
    await asyncio.sleep(seconds)
    return (await used_s() - before) / (time.monotonic() - since)
