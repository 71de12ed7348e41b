"""A double of Deepgram's Flux: turns of speech to text, and turns of text to speech.

Source: developers.deepgram.com/docs/flux (state, configuration, configure), developers.deepgram.com/docs/flux-tts
(client messages, server messages).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from corpus.doubles_common import Record, Utterances, json_messages, socket_route, tone
from corpus.doubles_deepgram import has_deepgram_key

LISTEN_MODELS = {"flux-general-en", "flux-general-multi"}
RANGES = {
    "eot_threshold": (0.5, 1.0),
    "eager_eot_threshold": (0.3, 0.9),
    "eot_timeout_ms": (500, 60_000),
}
SPEAK_RATES_HZ = {8000, 16000, 24000, 32000, 44100, 48000}
AUDIO_MS = 400  # of tone()


@dataclass
class Flux:
    """The services of the second version of Deepgram's API."""

    record: Record

    def routes(self) -> list[WebSocketRoute]:
        """Return the routes."""
        return [
            socket_route("/v2/listen", self.listen),
            socket_route("/v2/speak", self.speak),
        ]

    async def listen(self, websocket: WebSocket) -> None:
        """Transcribe a stream by turns: each turn is the question."""
        self.record.requests["deepgram flux listen"] += 1
        query = parse_qs(websocket.url.query)
        if not await self.record.accepted(
            websocket, has_deepgram_key(websocket) and _can_listen(query)
        ):
            return
        turns = Turns(self.record, websocket, int(query["sample_rate"][0]))
        turns.is_eager = "eager_eot_threshold" in query
        await turns.send("Connected")
        while (message := await websocket.receive())["type"] == "websocket.receive":
            if (audio := message.get("bytes")) is not None:
                await turns.hear(audio)
                continue
            command = json.loads(message["text"])
            match command.get("type"):
                case "Configure":
                    await self._configure_turns(turns, command, query["model"][0])
                case "CloseStream":
                    await websocket.close()
                    return
                case other:
                    self.record.faults.append(f"flux listen: unknown message {other}")

    async def _configure_turns(self, turns: "Turns", command: dict[str, Any], model: str) -> None:
        thresholds = command.get("thresholds", {})
        unknown = set(command) - {
            *("type", "thresholds", "keyterms", "language_hints", "numerals", "profanity_filter")
        }
        if (
            unknown
            or not _in_range(thresholds)
            or ("language_hints" in command and "multi" not in model)
        ):
            self.record.faults.append(f"flux listen: {command}")
            await turns.send("ConfigureFailure", error_code="INVALID", description="refused")
            return
        turns.is_eager = thresholds.get("eager_eot_threshold", turns.is_eager) not in (None, False)
        await turns.send("ConfigureSuccess", **{k: v for k, v in command.items() if k != "type"})

    async def speak(self, websocket: WebSocket) -> None:
        """Speak by turns: a turn begins with its first text, and ends where the client flushes it."""
        self.record.requests["deepgram flux speak"] += 1
        query = {name: values[0] for name, values in parse_qs(websocket.url.query).items()}
        rate_hz = int(query.get("sample_rate", "24000"))
        is_complete = query.get("model", "").startswith("flux-") and rate_hz in SPEAK_RATES_HZ
        is_complete = is_complete and query.get("encoding", "linear16") == "linear16"
        if not await self.record.accepted(websocket, has_deepgram_key(websocket) and is_complete):
            return
        names = {"model_name": query["model"], "model_version": "1", "model_uuids": ["uuid-1"]}
        await websocket.send_json({"type": "Connected", "request_id": "req-1", **names})
        turn = SpokenTurn(websocket, rate_hz)
        async for message in json_messages(websocket):
            match message.get("type"):
                case "Speak" if message.get("text"):
                    await turn.say(message["text"])
                case "Flush":
                    await turn.end()
                case "Interrupt":
                    await turn.interrupt()
                case "Configure" if 0.5 <= message.get("speed", 0) <= 2:
                    applied = {"speed": message["speed"]}
                    await websocket.send_json({"type": "ConfigureSuccess", "applied": applied})
                case "Close":
                    await turn.end()
                    await websocket.close()
                    return
                case _:
                    self.record.faults.append(f"flux speak: {message}: unknown, or of a wrong form")


def _can_listen(query: dict[str, list[str]]) -> bool:
    given = {name: float(query[name][0]) for name in RANGES if name in query}
    return (
        query.get("model", [""])[0] in LISTEN_MODELS
        and query.get("encoding") == ["linear16"]
        and "sample_rate" in query
        and _in_range(given)
        and ("language_hint" not in query or query["model"] == ["flux-general-multi"])
    )


def _in_range(given: Mapping[str, float | None]) -> bool:
    bounds = {name: RANGES.get(name, (1.0, 0.0)) for name in given}
    return all(
        value is None or bounds[name][0] <= value <= bounds[name][1]
        for name, value in given.items()
    )


@dataclass
class Turns:
    """The turns of one caller."""

    record: Record
    websocket: WebSocket
    rate_hz: int
    is_eager: bool = False
    is_ongoing: bool = False
    turn: int = 0
    sequence: int = 0
    seconds: float = 0.0
    utterances: Utterances = field(init=False)

    def __post_init__(self) -> None:
        self.utterances = Utterances(self.rate_hz)

    async def send(self, kind: str, **rest: Any) -> None:
        """Send a message with the next number."""
        head = {"type": kind, "request_id": "req-1", "sequence_id": self.sequence}
        self.sequence += 1
        await self.websocket.send_json(head | rest)

    async def hear(self, audio: bytes) -> None:
        """Take audio; tell where a turn starts and ends."""
        self.seconds += len(audio) / 2 / self.rate_hz
        has_ended = self.utterances.ends_with(audio)
        if (self.utterances.has_begun or has_ended) and not self.is_ongoing:
            self.is_ongoing = True
            await self._tell("StartOfTurn", "What")
        if has_ended:
            transcript = self.record.heard()
            await self._tell("Update", transcript)
            if self.is_eager:
                await self._tell("EagerEndOfTurn", transcript)
            await self._tell("EndOfTurn", transcript)
            self.is_ongoing, self.turn = False, self.turn + 1

    async def _tell(self, event: str, transcript: str) -> None:
        await self.send(
            "TurnInfo",
            event=event,
            turn_index=self.turn,
            audio_window_start=0.0,
            audio_window_end=self.seconds,
            transcript=transcript,
            words=[{"word": word, "confidence": 0.99} for word in transcript.split()],
            end_of_turn_confidence=0.9 if event == "EndOfTurn" else 0.1,
        )


@dataclass
class SpokenTurn:
    """The turn that is being spoken, or none."""

    websocket: WebSocket
    rate_hz: int
    turns: int = 0
    characters: int = 0

    async def _send(self, kind: str, **rest: Any) -> None:
        speech = {"speech_id": f"dg_sp_{self.turns:012x}"}
        await self.websocket.send_json({"type": kind, **speech, **rest})

    async def say(self, text: str) -> None:
        """Take text of the turn; the first begins it."""
        if not self.characters:
            self.turns += 1
            await self._send("SpeechStarted")
        self.characters += len(text)

    async def end(self) -> None:
        """Send all audio, and tell that the turn is complete."""
        if not self.characters:
            return
        await self._send("Flushed")
        await self.websocket.send_bytes(tone(self.rate_hz))
        billed, self.characters = self.characters, 0
        await self._send(
            "SpeechMetadata", audio_duration_ms=AUDIO_MS, billable_character_count=billed
        )

    async def interrupt(self) -> None:
        """Drop the turn; without one, warn."""
        if self.characters:
            self.characters = 0
            await self._send("SpeechInterrupted", audio_played_ms=0)
        else:
            warning = {"code": "NO_ACTIVE_SPEECH", "description": "no turn to interrupt"}
            await self.websocket.send_json({"type": "Warning", **warning})
