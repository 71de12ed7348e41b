"""A double of Cartesia's text to speech and speech to text.

Source: docs.cartesia.ai/api-reference (tts websocket, tts bytes, stt websocket, stt turns websocket).
"""

import base64
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from corpus.doubles_common import KEY, Record, Utterances, json_messages, socket_route, tone


@dataclass
class Cartesia:
    """The services."""

    record: Record

    def routes(self) -> list[Route | WebSocketRoute]:
        """Return the routes."""
        return [
            socket_route("/tts/websocket", self.cartesia),
            Route("/tts/bytes", self.cartesia_bytes, methods=["POST"]),
            socket_route("/stt/websocket", self.transcribe),
            socket_route("/stt/turns/websocket", self.transcribe_turns),
        ]

    async def cartesia(self, websocket: WebSocket) -> None:
        """Speak what each context's transcripts say; a context ends when no more continues it."""
        self.record.requests["cartesia websocket"] += 1
        headers = websocket.headers
        has_version = "cartesia-version" in headers or "cartesia_version" in websocket.query_params
        if not await self.record.accepted(
            websocket, headers.get("x-api-key") == KEY and has_version
        ):
            return
        async for message in json_messages(websocket):
            context = message.get("context_id")
            if message.get("cancel"):
                continue
            missing = {"transcript", "model_id", "voice", "output_format", "continue"} - set(
                message
            )
            if not context or missing:
                self.record.faults.append(f"cartesia: no context_id, or without {sorted(missing)}")
                continue
            if text := message["transcript"].strip():
                await self._speak(websocket, context, text, message["output_format"])
            if not message["continue"]:
                done = {"type": "done", "context_id": context, "done": True, "status_code": 200}
                await websocket.send_json(done)

    async def _speak(
        self, websocket: WebSocket, context: str, text: str, form: dict[str, Any]
    ) -> None:
        if form.get("container") != "raw" or form.get("encoding") != "pcm_s16le":
            self.record.faults.append(f"cartesia: expected raw pcm_s16le, got {form}")
        common = {"context_id": context, "done": False, "status_code": 206}
        words = text.split()
        times = [round(0.4 * n / len(words), 3) for n in range(len(words) + 1)]
        stamps = {"words": words, "start": times[:-1], "end": times[1:]}
        await websocket.send_json({"type": "timestamps", **common, "word_timestamps": stamps})
        data = base64.b64encode(tone(form["sample_rate"])).decode()
        await websocket.send_json({"type": "chunk", **common, "data": data, "step_time": 1.0})

    async def cartesia_bytes(self, request: Request) -> Response:
        """Speak a text in one answer."""
        self.record.requests["cartesia bytes"] += 1
        if request.headers.get("x-api-key") != KEY:
            return self.record.refuse("cartesia bytes: wrong key", 401)
        body = await request.json()
        if not body.get("transcript"):
            return self.record.refuse(f"cartesia bytes: no transcript: {body}")
        return Response(tone(body["output_format"]["sample_rate"]), media_type="audio/pcm")

    async def transcribe(self, websocket: WebSocket) -> None:
        """Transcribe what was said since the last ``finalize``, when the client sends the next."""
        self.record.requests["cartesia stt"] += 1
        query = parse_qs(websocket.url.query)
        if not await self.record.accepted(websocket, _can_transcribe(websocket, query, "ink-")):
            return
        request = {"request_id": "req-1"}
        utterances, has_speech = Utterances(int(query["sample_rate"][0])), False
        while (message := await websocket.receive())["type"] == "websocket.receive":
            if (audio := message.get("bytes")) is not None:
                has_ended = utterances.ends_with(audio)
                has_speech = has_speech or has_ended or utterances.has_begun
                continue
            command = message["text"]
            if command not in {"finalize", "close", "done"}:  # "done" is the older name of "close"
                self.record.faults.append(f"cartesia stt: unknown command {command}")
                continue
            if has_speech:
                await websocket.send_json(_transcript(self.record.heard(), request))
                utterances, has_speech = Utterances(utterances.rate_hz), False
            kind = "flush_done" if command == "finalize" else "done"
            await websocket.send_json({"type": kind, **request})
            if command != "finalize":
                await websocket.close()
                return

    async def transcribe_turns(self, websocket: WebSocket) -> None:
        """Transcribe a stream by turns: the server notices where they start and end."""
        self.record.requests["cartesia stt turns"] += 1
        query = parse_qs(websocket.url.query)
        if not await self.record.accepted(websocket, _can_transcribe(websocket, query, "ink-2")):
            return
        request = {"request_id": "req-1"}
        await websocket.send_json({"type": "connected", **request})
        utterances, is_turn = Utterances(int(query["sample_rate"][0])), False
        while (message := await websocket.receive())["type"] == "websocket.receive":
            if (audio := message.get("bytes")) is not None:
                has_ended = utterances.ends_with(audio)
                if (utterances.has_begun or has_ended) and not is_turn:
                    is_turn = True
                    await websocket.send_json({"type": "turn.start", **request})
                if has_ended:
                    said = {**request, "transcript": self.record.heard()}
                    await websocket.send_json({"type": "turn.update", **said})
                    await websocket.send_json({"type": "turn.end", **said})
                    is_turn = False
            elif json.loads(message["text"]) == {"type": "close"}:
                await websocket.close()
                return
            else:
                self.record.faults.append(f"cartesia stt turns: unknown {message['text']}")


def _can_transcribe(websocket: WebSocket, query: dict[str, list[str]], model: str) -> bool:
    headers = websocket.headers
    has_key = headers.get("x-api-key") == KEY or headers.get("authorization") == f"Bearer {KEY}"
    return (
        has_key
        and "cartesia-version" in headers
        and query.get("model", [""])[0].startswith(model)
        and query.get("encoding") == ["pcm_s16le"]
        and "sample_rate" in query
    )


def _transcript(text: str, request: dict[str, str]) -> dict[str, Any]:
    words = [
        {"word": word, "start": 0.1 * number, "end": 0.1 * number + 0.1}
        for number, word in enumerate(text.split())
    ]
    result = {"text": text, "is_final": True, "duration": 1.0, "language": "en", "words": words}
    return {"type": "transcript", **request, **result}
