"""A double of OpenAI's realtime API: transcription, and speech to speech.

Source: platform.openai.com/docs/api-reference (realtime client events, realtime server events).
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from corpus.doubles_common import Record, Utterances, json_messages, reply_to, socket_route, tone
from corpus.doubles_openai import OPENAI_HZ, has_openai_key

ROLES = {"user", "assistant", "system"}
SHORTEST_COMMIT_S = 0.1  # a shorter buffer is refused: "expected at least 100ms of audio"
BYTES_PER_MS = OPENAI_HZ * 2 // 1000


@dataclass
class Realtime:
    """The service."""

    record: Record

    def routes(self) -> list[WebSocketRoute]:
        """Return the route."""
        return [socket_route("/v1/realtime", self.connect)]

    async def connect(self, websocket: WebSocket) -> None:
        """Hold a session: each message of the client has its handler."""
        self.record.requests["openai realtime"] += 1
        if not await self.record.accepted(websocket, has_openai_key(websocket)):
            return
        session = Session(self.record, websocket)
        await session.send("session.created", session={"id": "sess_1"})
        async for message in json_messages(websocket):
            await session.handle(message)


@dataclass
class Session:
    """A connection's state.

    Attributes:
        config: What the client set; empty until its first ``session.update``.
        items: The conversation.
        heard: The bytes of audio in the input buffer.
        spoken_ms: The length of each answer's audio, by item.
    """

    record: Record
    websocket: WebSocket
    config: dict[str, Any] = field(default_factory=dict)
    items: list[dict[str, Any]] = field(default_factory=list)
    utterances: Utterances = field(default_factory=lambda: Utterances(OPENAI_HZ))
    heard: int = 0
    is_speech: bool = False
    spoken_ms: dict[str, int] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    @property
    def notices_turns(self) -> bool:
        """Whether the server notices where speech ends: it does unless the client said otherwise."""
        return bool(self.input.get("turn_detection", True))

    @property
    def input(self) -> dict[str, Any]:
        """The configuration of the caller's audio."""
        return dict(self.config.get("audio", {}).get("input", {}))

    async def send(self, kind: str, **rest: Any) -> None:
        """Send an event."""
        await self.websocket.send_json(
            {"type": kind, "event_id": f"event_{next(self.numbers)}"} | rest
        )

    async def refuse(self, message: dict[str, Any], what: str, code: str) -> None:
        """Send an error, and keep it."""
        self.record.faults.append(f"realtime: {message.get('type')}: {what}")
        error = {"type": "invalid_request_error", "code": code, "message": what}
        await self.send("error", error=error | {"event_id": message.get("event_id")})

    async def handle(self, message: dict[str, Any]) -> None:
        """Do what a client event asks for."""
        match message.get("type"):
            case "session.update":
                await self._configure(message)
            case kind if not self.config:
                await self.refuse(message, f"{kind} before session.update", "no_session")
            case "input_audio_buffer.append":
                await self._hear(base64.b64decode(message["audio"], validate=True))
            case "input_audio_buffer.commit":
                await self._commit_by_client(message)
            case "input_audio_buffer.clear":
                self._clear()
                await self.send("input_audio_buffer.cleared")
            case "conversation.item.create":
                await self._add_by_client(message)
            case "conversation.item.truncate":
                await self._truncate(message)
            case "response.create" if self.config["type"] == "realtime":
                await self._respond()
            case "response.cancel" if self.config["type"] == "realtime":
                # All of a response is sent at once, so that none is active.
                error = {"type": "invalid_request_error", "code": "response_cancel_not_active"}
                await self.send("error", error=error | {"message": "no active response"})
            case other:
                await self.refuse(message, f"unknown event {other}", "invalid_value")

    async def _configure(self, message: dict[str, Any]) -> None:
        given = message.get("session", {})
        kind = given.get("type")
        if kind not in {"realtime", "transcription"} or self.config.get("type", kind) != kind:
            await self.refuse(message, f"session of type {kind}", "invalid_value")
            return
        if kind == "transcription" and "transcription" not in given.get("audio", {}).get(
            "input", {}
        ):
            await self.refuse(message, "no audio.input.transcription", "missing_parameter")
            return
        if len(modalities := given.get("output_modalities", ["audio"])) != 1:
            await self.refuse(message, f"modalities {modalities}, not one", "invalid_value")
            return
        audio = self.config.get("audio", {}) | given.get("audio", {})
        self.config = self.config | given | {"audio": audio}
        await self.send("session.updated", session=self.config)

    async def _hear(self, audio: bytes) -> None:
        self.heard += len(audio)
        has_ended = self.utterances.ends_with(audio)
        if not self.notices_turns:
            return
        mark = {"item_id": "item_spoken"}
        if self.utterances.has_begun and not self.is_speech:
            self.is_speech = True
            await self.send("input_audio_buffer.speech_started", audio_start_ms=0, **mark)
        if has_ended:
            end_ms = self.heard // BYTES_PER_MS
            if not self.is_speech:
                await self.send("input_audio_buffer.speech_started", audio_start_ms=0, **mark)
            await self.send("input_audio_buffer.speech_stopped", audio_end_ms=end_ms, **mark)
            await self._commit()
            if self.config["type"] == "realtime":
                await self._respond()

    async def _commit_by_client(self, message: dict[str, Any]) -> None:
        if self.heard < SHORTEST_COMMIT_S * OPENAI_HZ * 2:
            await self.refuse(message, "buffer too small", "input_audio_buffer_commit_empty")
        else:
            await self._commit()

    async def _commit(self) -> None:
        """Make the input buffer an item, and transcribe it if the client wants that."""
        self._clear()
        transcript = self.record.heard()
        item: dict[str, Any] = {"id": f"item_{next(self.numbers)}", "object": "realtime.item"}
        part = {"type": "input_audio", "transcript": transcript}
        item |= {"type": "message", "status": "completed", "role": "user", "content": [part]}
        await self.send("input_audio_buffer.committed", item_id=item["id"])
        await self._add(item)
        if self.input.get("transcription"):
            await self.send(
                "conversation.item.input_audio_transcription.completed",
                item_id=item["id"],
                content_index=0,
                transcript=transcript,
            )

    def _clear(self) -> None:
        self.utterances, self.heard, self.is_speech = Utterances(OPENAI_HZ), 0, False

    async def _add(self, item: dict[str, Any]) -> None:
        previous = self.items[-1]["id"] if self.items else None
        self.items.append(item)
        await self.send("conversation.item.added", previous_item_id=previous, item=item)
        await self.send("conversation.item.done", previous_item_id=previous, item=item)

    async def _add_by_client(self, message: dict[str, Any]) -> None:
        item = message.get("item", {})
        is_message = item.get("type") == "message" and item.get("role") in ROLES
        is_output = item.get("type") == "function_call_output" and {"call_id", "output"} <= set(
            item
        )
        if self.config["type"] != "realtime" or not (
            (is_message and item.get("content")) or is_output
        ):
            await self.refuse(message, f"invalid item {item}", "invalid_value")
            return
        await self._add({"id": f"item_{next(self.numbers)}", "object": "realtime.item"} | item)

    async def _truncate(self, message: dict[str, Any]) -> None:
        place = {name: message.get(name) for name in ("item_id", "content_index", "audio_end_ms")}
        length_ms = self.spoken_ms.get(str(place["item_id"]), -1)
        if place["content_index"] != 0 or not 0 <= (place["audio_end_ms"] or 0) <= length_ms:
            await self.refuse(message, f"no such audio: {place}", "invalid_value")
            return
        await self.send("conversation.item.truncated", **place)

    async def _respond(self) -> None:
        """Answer with one message: spoken, or as text if that is the session's modality."""
        self.record.requests["openai realtime responses"] += 1
        self.record.conversations.append(list(self.items))
        text, is_spoken = (
            reply_to(self.items),
            "text" not in self.config.get("output_modalities", ()),
        )
        number = next(self.numbers)
        response = {"id": f"resp_{number}", "object": "realtime.response", "output": []}
        item = {"id": f"item_{number}", "object": "realtime.item", "type": "message"}
        item |= {"role": "assistant"}
        part = {"type": "output_audio", "transcript": text}
        part = part if is_spoken else {"type": "output_text", "text": text}
        done = item | {"status": "completed", "content": [part]}
        begun = item | {"status": "in_progress", "content": []}
        previous = self.items[-1]["id"] if self.items else None
        mark = {"response_id": response["id"], "output_index": 0}
        await self.send("response.created", response=response | {"status": "in_progress"})
        await self.send("response.output_item.added", **mark, item=begun)
        await self.send("conversation.item.added", previous_item_id=previous, item=begun)
        place = mark | {"item_id": item["id"], "content_index": 0}
        await self.send("response.content_part.added", **place, part={"type": part["type"]})
        await (self._speak(place, text) if is_spoken else self._write(place, text))
        await self.send("response.content_part.done", **place, part=part)
        await self.send("conversation.item.done", previous_item_id=previous, item=done)
        await self.send("response.output_item.done", **mark, item=done)
        self.items.append(done)
        usage = {"total_tokens": 15, "input_tokens": 9, "output_tokens": 6}
        ended = response | {"status": "completed", "output": [done], "usage": usage}
        await self.send("response.done", response=ended)

    async def _write(self, place: dict[str, Any], text: str) -> None:
        await self.send("response.output_text.delta", **place, delta=text)
        await self.send("response.output_text.done", **place, text=text)

    async def _speak(self, place: dict[str, Any], text: str) -> None:
        audio = tone(OPENAI_HZ)
        self.spoken_ms[place["item_id"]] = len(audio) // BYTES_PER_MS
        await self.send("response.output_audio_transcript.delta", **place, delta=text)
        delta = base64.b64encode(audio).decode()
        await self.send("response.output_audio.delta", **place, delta=delta)
        await self.send("response.output_audio.done", **place)
        await self.send("response.output_audio_transcript.done", **place, transcript=text)
