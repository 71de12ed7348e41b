"""A double of Deepgram's speech to text and text to speech.

Source: developers.deepgram.com/reference (listen streaming, speak streaming, speak).
"""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from corpus.doubles_common import KEY, Record, Utterances, json_messages, socket_route, tone

SPEAK_HZ = 24_000  # the default of speak


@dataclass
class Deepgram:
    """The services of the first version of its API."""

    record: Record

    def routes(self) -> list[Route | WebSocketRoute]:
        """Return the routes."""
        return [
            socket_route("/v1/listen", self.listen),
            socket_route("/v1/speak", self.speak),
            Route("/v1/speak", self.speak_at_once, methods=["POST"]),
        ]

    async def listen(self, websocket: WebSocket) -> None:
        """Transcribe a stream: each utterance is the question."""
        self.record.requests["deepgram listen"] += 1
        query = parse_qs(websocket.url.query)
        is_complete = {"encoding", "sample_rate", "model"} <= set(query) and query["encoding"] == [
            "linear16"
        ]
        if not await self.record.accepted(websocket, has_deepgram_key(websocket) and is_complete):
            return
        utterances = Utterances(int(query["sample_rate"][0]))
        while (message := await websocket.receive())["type"] == "websocket.receive":
            if (audio := message.get("bytes")) is not None:
                if utterances.ends_with(audio):
                    await websocket.send_json(_results(self.record.heard(), from_finalize=False))
                continue
            kind = json.loads(message["text"])["type"]
            if kind == "Finalize":
                await websocket.send_json(_results("", from_finalize=True))
            elif kind == "CloseStream":
                await websocket.close()
                return
            elif kind != "KeepAlive":
                self.record.faults.append(f"listen: unknown message {kind}")

    async def speak(self, websocket: WebSocket) -> None:
        """Speak the texts that came since the last flush, when the client flushes them."""
        self.record.requests["deepgram speak"] += 1
        query = {name: values[0] for name, values in parse_qs(websocket.url.query).items()}
        is_complete = query.get("encoding") == "linear16" and {"model", "sample_rate"} <= set(query)
        if not await self.record.accepted(websocket, has_deepgram_key(websocket) and is_complete):
            return
        await websocket.send_json({"type": "Metadata", "request_id": "req-1"})
        rate_hz, texts, flushes = int(query["sample_rate"]), 0, 0
        async for message in json_messages(websocket):
            match message.get("type"):
                case "Speak" if message.get("text"):
                    texts += 1
                case "Flush":
                    if texts:
                        await websocket.send_bytes(tone(rate_hz))
                    texts, flushes = 0, flushes + 1
                    await websocket.send_json({"type": "Flushed", "sequence_id": flushes})
                case "Clear":
                    texts = 0
                    await websocket.send_json({"type": "Cleared", "sequence_id": flushes})
                case "Close":
                    await websocket.close()
                    return
                case other:
                    self.record.faults.append(f"speak: {other} without text, or unknown")

    async def speak_at_once(self, request: Request) -> Response:
        """Speak a text in one answer."""
        self.record.requests["deepgram speak at once"] += 1
        query = request.query_params
        if not has_deepgram_key(request):
            return self.record.refuse("speak: wrong key", 401)
        if query.get("encoding") != "linear16" or not (await request.json()).get("text"):
            return self.record.refuse(f"speak: no text, or not linear16: {query}")
        return Response(tone(int(query.get("sample_rate", SPEAK_HZ))))


def has_deepgram_key(connection: HTTPConnection) -> bool:
    """Return whether a request has the key."""
    scheme, _, key = connection.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "token" and key == KEY


def _results(text: str, *, from_finalize: bool) -> dict[str, Any]:
    alternative = {"transcript": text, "confidence": 0.99, "words": [], "languages": ["en"]}
    return {
        "type": "Results",
        "channel_index": [0, 1],
        "duration": 1.0,
        "start": 0.0,
        "is_final": True,
        "speech_final": True,
        "from_finalize": from_finalize,
        "channel": {"alternatives": [alternative]},
        "metadata": {
            "request_id": "req-1",
            "model_info": {"name": "nova-3", "version": "1", "arch": "nova-3"},
            "model_uuid": "uuid-1",
        },
    }
