"""Carriers that obey their documents: they ask the webhook, run the verbs, open the stream, and ask again.

The rules are those that the carriers document:

- Twilio: the next verb of <Connect> runs when the server has closed the stream; with an ``action`` this URL is
  asked instead. A webhook that gets no connection is tried once more, and then the fallback URL is asked.
- Telnyx: the verb behind <Connect> runs when the stream has ended.
- Plivo: a stream that is dropped is opened again, at most twice; then the next element runs.
- Exotel: asks once for the URL of the stream; then the flow goes on.
"""

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree as ET

import aiohttp

from edge.phone_support import OURS, PUBLIC_URL, THEIRS, signed
from tests_support import until

FRAME_S = 0.02
ID_KEYS = {
    "twilio": "streamSid",
    "telnyx": "stream_id",
    "plivo": "streamId",
    "exotel": "stream_sid",
}
SILENCE = {"twilio": b"\xff" * 160, "telnyx": b"\xff" * 160, "plivo": b"\xff" * 160}
SILENCE["exotel"] = bytes(3200)  # 16 bits, and at least 100 ms in one message
REQUESTS_MAX = 12  # of one call: a loop of documents ends


def twilio_start(call: "Call") -> list[dict[str, Any]]:
    start = {
        "streamSid": call.stream_id,
        "accountSid": "AC1",
        "callSid": call.call_id,
        "tracks": ["inbound"],
        "customParameters": call.parameters,
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
    }
    return [
        {"event": "connected", "protocol": "Call", "version": "1.0.0"},
        {"event": "start", "sequenceNumber": "1", "start": start, "streamSid": call.stream_id},
    ]


def telnyx_start(call: "Call") -> list[dict[str, Any]]:
    start = {
        "user_id": "u1",
        "call_control_id": call.call_id,
        "client_state": None,
        "media_format": {"encoding": "PCMU", "sample_rate": 8000, "channels": 1},
        "from": THEIRS,
        "to": OURS,
    }
    return [
        {"event": "connected", "version": "1.0.0"},
        {"event": "start", "sequence_number": "1", "start": start, "stream_id": call.stream_id},
    ]


def plivo_start(call: "Call") -> list[dict[str, Any]]:
    start = {
        "callId": call.call_id,
        "streamId": call.stream_id,
        "accountId": "MA1",
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000},
    }
    return [{"sequenceNumber": 0, "event": "start", "start": start, "extra_headers": "{}"}]


def exotel_start(call: "Call") -> list[dict[str, Any]]:
    start = {
        "stream_sid": call.stream_id,
        "call_sid": call.call_id,
        "account_sid": "E1",
        "from": THEIRS,
        "to": OURS,
        "custom_parameters": {},
        "media_format": {"encoding": "base64", "sample_rate": "8000", "bit_rate": "128kbps"},
    }
    return [
        {"event": "connected"},
        {"event": "start", "sequence_number": 1, "stream_sid": call.stream_id, "start": start},
    ]


def media(call: "Call", payload: bytes, number: int) -> dict[str, Any]:
    """Return one message with audio of the person."""
    text = base64.b64encode(payload).decode()
    part: dict[str, Any]
    stamp = str(number * 20)
    match call.carrier:
        case "twilio":
            part = {"track": "inbound", "chunk": str(number), "timestamp": stamp, "payload": text}
            return {
                "event": "media",
                "sequenceNumber": str(number + 1),
                "media": part,
                "streamSid": call.stream_id,
            }
        case "telnyx":
            part = {"track": "inbound", "chunk": str(number), "timestamp": stamp, "payload": text}
            return {"event": "media", "media": part, "stream_id": call.stream_id}
        case "plivo":
            part = {"track": "inbound", "chunk": number, "timestamp": stamp, "payload": text}
            return {"event": "media", "media": part, "streamId": call.stream_id}
        case _:
            part = {"chunk": number, "timestamp": stamp, "payload": text}
            return {"event": "media", "stream_sid": call.stream_id, "media": part}


def check_id(call: "Call", message: Mapping[str, Any]) -> None:
    """A carrier ignores, or takes as an error, what names a stream of another id than its own. Telnyx needs none."""
    key = ID_KEYS[call.carrier]
    if call.carrier != "telnyx" or key in message:
        assert message[key] == call.stream_id, message


def audio_of(carrier: str, message: Mapping[str, Any]) -> bytes | None:
    """Return the audio of a bot's message; None if it has none. Anything undocumented is an error."""
    event = message["event"]
    allowed = {
        "twilio": {"media", "mark", "clear"},
        "telnyx": {"media", "mark", "clear"},
        "plivo": {"playAudio", "checkpoint", "clearAudio"},
        "exotel": {"media", "mark", "clear"},
    }
    assert event in allowed[carrier], f"{carrier} closes a stream for {event!r}"
    if event not in {"media", "playAudio"}:
        return None
    if carrier == "plivo":
        assert message["media"]["contentType"] == "audio/x-mulaw"
        assert int(message["media"]["sampleRate"]) == 8000
    return base64.b64decode(message["media"]["payload"], validate=True)


STARTS: dict[str, Callable[["Call"], list[dict[str, Any]]]] = {
    "twilio": twilio_start,
    "telnyx": telnyx_start,
    "plivo": plivo_start,
    "exotel": exotel_start,
}


@dataclass
class Call:
    """One call at a carrier.

    Attributes:
        carrier: The carrier.
        call_id: Its id of the call.
        edges: The addresses behind ``public_url``; those that do not answer are skipped.
        path: The path of the webhook.
        steps: What has happened, in its order.
        audio: The audio that the person hears.
        parameters: The parameters of the document, which the stream repeats.
        stream_id: The id of the present stream.
        first_audio_ms: Milliseconds from the webhook to the first audio.
        websocket: The present stream, or the last one.
        started: The number of the last stream whose start was sent.
        at: What happens at a point of the call: ``webhook`` and ``again`` (the request is on its way), ``document``
            (its answer is there), ``open`` (the stream is, without a message yet).
    """

    carrier: str
    call_id: str
    edges: list[str]
    client: aiohttp.ClientSession
    path: str = ""
    steps: list[str] = field(default_factory=list)
    audio: bytearray = field(default_factory=bytearray)
    parameters: dict[str, str] = field(default_factory=dict)
    stream_id: str = ""
    first_audio_ms: float | None = None
    websocket: aiohttp.ClientWebSocketResponse | None = None
    started: int = 0
    at: dict[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    _started: float = 0.0
    _requests: int = 0
    _streams: int = 0
    _is_hung_up: bool = False

    # --- the person

    async def hang_up(self) -> None:
        """The person hangs up: the stream stops, and the carrier reports the end of the call."""
        self._is_hung_up = True
        if self.websocket is not None and not self.websocket.closed:
            await self.websocket.send_json(_stop(self))
            await self.websocket.close()
        await self.report("completed")

    async def hears(self, words: str = "") -> None:
        """Wait until the person has heard these words; without any, the first audio."""
        await until(lambda: words.encode() in self.audio and self.audio, timeout_s=60)

    async def press(self, digit: str) -> None:
        """The person presses a key of the telephone, which the carrier sends when the stream has started."""
        await until(lambda: self.started == self._streams)
        assert self.websocket is not None
        dtmf = {"track": "inbound_track", "digit": digit}
        key = ID_KEYS[self.carrier]
        await self.websocket.send_json({"event": "dtmf", key: self.stream_id, "dtmf": dtmf})

    # --- the carrier

    async def reach(self, point: str) -> None:
        """Let happen what happens at a point of the call, once."""
        await self.at.pop(point, _nothing)()

    async def run(self) -> list[str]:
        """Follow the documents until the end of the call; return what has happened."""
        self._started = time.monotonic()
        text = await self.ask(self.path or f"/phone/{self.carrier}", "ringing")
        if self.carrier == "exotel":
            if text is not None:
                await self._stream(str(json.loads(text)["url"]))
                self.steps.append("next applet")
            return self.steps
        while text is not None and not self._is_hung_up:
            text = await self._follow(ET.fromstring(text))
        return self.steps

    async def _follow(self, response: ET.Element) -> str | None:
        """Run the verbs of a document; return the next document, if there is one."""
        assert response.tag == "Response"
        for verb in response:
            match verb.tag:
                case "Reject" | "Hangup":
                    self.steps.append(verb.attrib.get("reason", "hangup"))
                    return None
                case "Pause" | "Wait":
                    self.steps.append("held")
                    return None
                case "Redirect":
                    return await self.ask(str(verb.text), "in-progress")
                case "Connect":
                    stream = verb[0]
                    self.parameters = {p.attrib["name"]: p.attrib["value"] for p in stream}
                    await self._stream(stream.attrib["url"])
                    if "action" in verb.attrib and not self._is_hung_up:
                        return await self.ask(verb.attrib["action"], "in-progress")
                case "Stream":
                    assert verb.attrib["keepCallAlive"] == "true"
                    await self._plivo_stream(str(verb.text))
                case _:
                    raise AssertionError(f"{self.carrier} knows no <{verb.tag}>")
        self.steps.append("end of document")
        return None

    async def _plivo_stream(self, url: str) -> None:
        for _ in range(3):  # the stream, and two retries of one that was dropped
            code = await self._stream(url)
            if code != aiohttp.WSCloseCode.ABNORMAL_CLOSURE or self._is_hung_up:
                return

    async def ask(self, url: str, status: str) -> str | None:
        """Ask for a document; without one, the fallback URL is asked."""
        self._requests += 1
        assert self._requests < REQUESTS_MAX, self.steps
        for _ in range(2):  # Twilio's retry count (rc) is 1 by default, for failed connections
            async with _background(self.reach(_name(url))):
                answer = await self._post(url, status)
            if answer is not None:
                code, text = answer
                self.steps.append(f"{_name(url)} {code}")
                if code == 200:
                    await self.reach("document")
                    return text
                break
        self.steps.append("fallback URL")
        return None

    async def report(self, status: str) -> None:
        """Report a state to the status callback."""
        answer = await self._post(f"/phone/{self.carrier}/status", status)
        if answer is not None:
            self.steps.append(f"status {answer[0]}")

    async def _post(self, url: str, status: str) -> tuple[int, str] | None:
        path = url.removeprefix(PUBLIC_URL)
        body, headers = signed(self.carrier, PUBLIC_URL + path, self._form(status))
        for edge in self.edges:
            with contextlib.suppress(aiohttp.ClientConnectionError):
                async with self.client.post(edge + path, data=body, headers=headers) as answer:
                    return answer.status, await answer.text()
        return None

    def _form(self, status: str) -> list[tuple[str, str]]:
        values = {"From": THEIRS, "To": OURS, "CallStatus": status, "Direction": "inbound"}
        values["CallUUID" if self.carrier == "plivo" else "CallSid"] = self.call_id
        return list(values.items())

    async def _stream(self, url: str) -> int | None:
        """Open the stream and send silence until it is closed; return the code."""
        self._streams += 1
        self.stream_id = f"MZ{self._streams}-{self.call_id}"
        path = url.removeprefix(PUBLIC_URL.replace("https", "wss"))
        for edge in self.edges:
            try:
                websocket = await self.client.ws_connect(edge.replace("http", "ws", 1) + path)
            except aiohttp.WSServerHandshakeError as error:
                self.steps.append(f"stream refused {error.status}")
                return error.status
            except aiohttp.ClientConnectionError:
                continue
            self.websocket = websocket
            self.steps.append("stream")
            await self.reach("open")
            async with websocket, _background(self._speak(websocket)):
                await self._listen(websocket)
            code = websocket.close_code
            self.steps.append(f"closed {code}")
            return code
        self.steps.append("stream failed")
        return aiohttp.WSCloseCode.ABNORMAL_CLOSURE

    async def _speak(self, websocket: aiohttp.ClientWebSocketResponse) -> None:
        for message in STARTS[self.carrier](self):
            await websocket.send_json(message)
        self.started = self._streams
        silence = SILENCE[self.carrier]
        pause_s = len(silence) / (16_000 if self.carrier == "exotel" else 8_000)
        number = 1
        with contextlib.suppress(ConnectionError):
            while True:
                await websocket.send_json(media(self, silence, number))
                number += 1
                await asyncio.sleep(pause_s)

    async def _listen(self, websocket: aiohttp.ClientWebSocketResponse) -> None:
        async for item in websocket:
            if item.type is not aiohttp.WSMsgType.TEXT:
                continue
            message = json.loads(item.data)
            payload = audio_of(self.carrier, message)
            check_id(self, message)
            if payload:
                if self.first_audio_ms is None:
                    self.first_audio_ms = (time.monotonic() - self._started) * 1000
                self.audio += payload


def _stop(call: Call) -> dict[str, Any]:
    return {"event": "stop", ID_KEYS[call.carrier]: call.stream_id, "stop": {}}


async def _nothing() -> None:
    """Nothing happens at most points."""


def _name(url: str) -> str:
    """Return the step that a URL asks for."""
    parts = url.removeprefix(PUBLIC_URL).split("/")
    return parts[3] if len(parts) > 4 else "webhook"


@contextlib.asynccontextmanager
async def _background(work: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
