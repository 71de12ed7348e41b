"""Doubles of OpenAI, Deepgram, Cartesia, and Twilio's hang-up, on loopback, strict about what their documents ask for.

Each answers as its API reference says, and refuses a request without the key, of the wrong form, or in the wrong
order. ``Doubles.faults`` holds each refusal: a test compares it with an empty list.

Sources: platform.openai.com/docs/api-reference (chat, audio, realtime), developers.deepgram.com/reference
(listen streaming, speak streaming, speak), docs.cartesia.ai/api-reference/tts (websocket, bytes).
"""

import base64
import json
import math
from array import array
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

KEY = "sk-of-the-doubles"
ACCOUNT = "AC00000000000000000000000000000000"
GREETING = "Hello, I am glad that you called."
ANSWER = "The capital of Germany is Berlin."
QUESTION = "What is the capital of Germany?"
OPENAI_SPEECH_HZ = 24_000  # the only rate of its format "pcm"
LOUD = 500  # of 32767: above the rounding of mu-law silence, below a whisper
SPEECH_S = 0.3


def tone(rate_hz: int, seconds: float = 0.4) -> bytes:
    """Return a tone as 16-bit mono."""
    count = int(rate_hz * seconds)
    return array(
        "h", (int(8_000 * math.sin(n * math.tau * 300 / rate_hz)) for n in range(count))
    ).tobytes()


@dataclass
class Utterances:
    """Finds where speech ends in audio, by its loudness."""

    rate_hz: int
    heard_s: float = 0.0
    quiet_s: float = 0.0

    def ends_with(self, audio: bytes) -> bool:
        """Take 16-bit audio; return whether an utterance has ended with it."""
        samples = array("h", audio[: len(audio) // 2 * 2])
        seconds = len(samples) / self.rate_hz
        if samples and max(map(abs, samples)) > LOUD:
            self.heard_s, self.quiet_s = self.heard_s + seconds, 0.0
            return False
        self.quiet_s += seconds
        if self.heard_s < SPEECH_S or self.quiet_s < SPEECH_S:
            return False
        self.heard_s = self.quiet_s = 0.0
        return True


@dataclass
class Doubles:
    """The services; counts what each was asked for, and keeps the messages that the language model got."""

    requests: Counter[str] = field(default_factory=Counter)
    conversations: list[list[dict[str, Any]]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def app(self) -> Starlette:
        """Return the application with all services."""
        return Starlette(
            routes=[
                Route("/v1/chat/completions", self.chat, methods=["POST"]),
                Route("/v1/audio/speech", self.speech, methods=["POST"]),
                Route("/v1/audio/transcriptions", self.transcription, methods=["POST"]),
                WebSocketRoute("/v1/realtime", self.realtime),
                WebSocketRoute("/v1/listen", self.listen),
                WebSocketRoute("/v1/speak", self.speak),
                Route("/v1/speak", self.speak_at_once, methods=["POST"]),
                WebSocketRoute("/tts/websocket", self.cartesia),
                Route("/tts/bytes", self.cartesia_bytes, methods=["POST"]),
                Route(
                    "/2010-04-01/Accounts/{account}/Calls/{call}.json",
                    self.hang_up,
                    methods=["POST"],
                ),
            ]
        )

    @staticmethod
    def environment(url: str) -> dict[str, str]:
        """Return what a bot's environment needs so that its services are the doubles at `url`."""
        return {
            "OPENAI_BASE_URL": f"{url}/v1",
            "OPENAI_API_KEY": KEY,
            "DEEPGRAM_API_KEY": KEY,
            "CARTESIA_API_KEY": KEY,
            "TWILIO_ACCOUNT_SID": ACCOUNT,
            "TWILIO_AUTH_TOKEN": KEY,
            "SERVICE_DOUBLES_URL": url,
            "PIPECAT_SETUP_FILES": str(Path(__file__).with_name("doubles_setup.py")),
        }

    def refuse(self, what: str, status: int = 400) -> JSONResponse:
        """Answer with an error of OpenAI's form, and keep it."""
        self.faults.append(what)
        return JSONResponse({"error": {"message": what, "type": "invalid_request_error"}}, status)

    # --- OpenAI

    async def chat(self, request: Request) -> Response:
        """Stream a completion: the answer where Germany was named, else the greeting."""
        self.requests["openai chat"] += 1
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return self.refuse("chat: wrong key", 401)
        body = await request.json()
        messages = body.get("messages")
        roles = {"system", "developer", "user", "assistant", "tool"}
        if not body.get("model") or not messages or {m["role"] for m in messages} - roles:
            return self.refuse(f"chat: no model, no messages or an unknown role: {body}")
        self.conversations.append(messages)
        text = ANSWER if "Germany" in json.dumps(messages) else GREETING
        if not body.get("stream"):
            return JSONResponse(
                _completion(body["model"], {"message": {"role": "assistant", "content": text}})
            )
        return StreamingResponse(_chunks(body, text), media_type="text/event-stream")

    async def speech(self, request: Request) -> Response:
        """Speak a text as PCM."""
        self.requests["openai speech"] += 1
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return self.refuse("speech: wrong key", 401)
        body = await request.json()
        if not body.get("input") or not body.get("voice") or body.get("response_format") != "pcm":
            return self.refuse(f"speech: no input, no voice or not pcm: {body}")
        return Response(tone(OPENAI_SPEECH_HZ), media_type="audio/pcm")

    async def transcription(self, request: Request) -> Response:
        """Transcribe a WAV file: it is always the question."""
        self.requests["openai transcription"] += 1
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return self.refuse("transcription: wrong key", 401)
        form = await request.form()
        file = form.get("file")
        head = b"" if file is None or isinstance(file, str) else await file.read(4)
        if not form.get("model") or head != b"RIFF":
            return self.refuse(f"transcription: no model or no WAV file: {list(form)}")
        return JSONResponse({"text": QUESTION})

    async def realtime(self, websocket: WebSocket) -> None:
        """Transcribe a stream: the client commits what was said, or the server notices its end."""
        self.requests["openai realtime"] += 1
        if not await self._accepted(
            websocket, websocket.headers.get("authorization") == f"Bearer {KEY}"
        ):
            return
        await websocket.send_json({"type": "session.created", "session": {"id": "sess_1"}})
        utterances, has_session = Utterances(OPENAI_SPEECH_HZ), False
        async for message in _texts(websocket):
            match message.get("type"):
                case "session.update":
                    has_session = True
                    await websocket.send_json(
                        {"type": "session.updated", "session": message["session"]}
                    )
                case "input_audio_buffer.append" if has_session:
                    if utterances.ends_with(base64.b64decode(message["audio"])):
                        await self._transcribed(websocket)
                case "input_audio_buffer.commit" if has_session:
                    utterances = Utterances(OPENAI_SPEECH_HZ)
                    await self._transcribed(websocket)
                case "input_audio_buffer.clear":
                    utterances = Utterances(OPENAI_SPEECH_HZ)
                case other:
                    self.faults.append(f"realtime: {other} before session.update, or unknown")

    async def _transcribed(self, websocket: WebSocket) -> None:
        item = {"item_id": "item_1", "content_index": 0}
        await websocket.send_json({"type": "input_audio_buffer.committed", **item})
        kind = "conversation.item.input_audio_transcription.completed"
        await websocket.send_json({"type": kind, **item, "transcript": QUESTION})

    # --- Deepgram

    async def listen(self, websocket: WebSocket) -> None:
        """Transcribe a stream: each utterance is the question."""
        self.requests["deepgram listen"] += 1
        query = parse_qs(websocket.url.query)
        is_complete = {"encoding", "sample_rate", "model"} <= set(query) and query["encoding"] == [
            "linear16"
        ]
        if not await self._accepted(websocket, _has_deepgram_key(websocket) and is_complete):
            return
        utterances = Utterances(int(query["sample_rate"][0]))
        while (message := await websocket.receive())["type"] == "websocket.receive":
            if (audio := message.get("bytes")) is not None:
                if utterances.ends_with(audio):
                    await websocket.send_json(_results(QUESTION, from_finalize=False))
                continue
            kind = json.loads(message["text"])["type"]
            if kind == "Finalize":
                await websocket.send_json(_results("", from_finalize=True))
            elif kind == "CloseStream":
                await websocket.close()
                return
            elif kind != "KeepAlive":
                self.faults.append(f"listen: unknown message {kind}")

    async def speak(self, websocket: WebSocket) -> None:
        """Speak the texts that came since the last flush, when the client flushes them."""
        self.requests["deepgram speak"] += 1
        query = {name: values[0] for name, values in parse_qs(websocket.url.query).items()}
        is_complete = query.get("encoding") == "linear16" and {"model", "sample_rate"} <= set(query)
        if not await self._accepted(websocket, _has_deepgram_key(websocket) and is_complete):
            return
        await websocket.send_json({"type": "Metadata", "request_id": "req-1"})
        rate_hz, texts, flushes = int(query["sample_rate"]), 0, 0
        async for message in _texts(websocket):
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
                    self.faults.append(f"speak: {other} without text, or unknown")

    async def speak_at_once(self, request: Request) -> Response:
        """Speak a text in one answer."""
        self.requests["deepgram speak at once"] += 1
        query = request.query_params
        if not _has_deepgram_key(request):
            return self.refuse("speak: wrong key", 401)
        if query.get("encoding") != "linear16" or not (await request.json()).get("text"):
            return self.refuse(f"speak: no text, or not linear16: {query}")
        return Response(tone(int(query.get("sample_rate", OPENAI_SPEECH_HZ))))

    # --- Cartesia

    async def cartesia(self, websocket: WebSocket) -> None:
        """Speak what each context's transcripts say; a context ends when no more continues it."""
        self.requests["cartesia websocket"] += 1
        headers = websocket.headers
        has_version = "cartesia-version" in headers or "cartesia_version" in websocket.query_params
        if not await self._accepted(websocket, headers.get("x-api-key") == KEY and has_version):
            return
        async for message in _texts(websocket):
            context = message.get("context_id")
            if message.get("cancel"):
                continue
            missing = {"transcript", "model_id", "voice", "output_format", "continue"} - set(
                message
            )
            if not context or missing:
                self.faults.append(f"cartesia: no context_id, or without {sorted(missing)}")
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
            self.faults.append(f"cartesia: expected raw pcm_s16le, got {form}")
        common = {"context_id": context, "done": False, "status_code": 206}
        words = text.split()
        times = [round(0.4 * n / len(words), 3) for n in range(len(words) + 1)]
        stamps = {"words": words, "start": times[:-1], "end": times[1:]}
        await websocket.send_json({"type": "timestamps", **common, "word_timestamps": stamps})
        data = base64.b64encode(tone(form["sample_rate"])).decode()
        await websocket.send_json({"type": "chunk", **common, "data": data, "step_time": 1.0})

    async def cartesia_bytes(self, request: Request) -> Response:
        """Speak a text in one answer."""
        self.requests["cartesia bytes"] += 1
        if request.headers.get("x-api-key") != KEY:
            return self.refuse("cartesia bytes: wrong key", 401)
        body = await request.json()
        if not body.get("transcript"):
            return self.refuse(f"cartesia bytes: no transcript: {body}")
        return Response(tone(body["output_format"]["sample_rate"]), media_type="audio/pcm")

    # --- Twilio

    async def hang_up(self, request: Request) -> Response:
        """End a call, as Pipecat's serializer asks for when the bot ends."""
        self.requests["twilio hang-up"] += 1
        expected = base64.b64encode(f"{ACCOUNT}:{KEY}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {expected}":
            return self.refuse("hang-up: wrong account", 401)
        if (await request.form()).get("Status") != "completed":
            return self.refuse("hang-up: no Status=completed")
        return JSONResponse({"sid": request.path_params["call"], "status": "completed"})

    async def _accepted(self, websocket: WebSocket, is_allowed: bool) -> bool:
        if not is_allowed:
            self.faults.append(
                f"{websocket.url.path}: wrong key, or parameters missing: {websocket.url.query}"
            )
            await websocket.close()  # before acceptance: 403
            return False
        await websocket.accept()
        return True


def _has_deepgram_key(connection: HTTPConnection) -> bool:
    scheme, _, key = connection.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "token" and key == KEY


def _completion(
    model: str, choice: dict[str, Any], kind: str = "chat.completion"
) -> dict[str, Any]:
    entry = {"index": 0, "finish_reason": None, **choice}
    usage = {"prompt_tokens": 9, "completion_tokens": 6, "total_tokens": 15}
    row = {"id": "chatcmpl-1", "object": kind, "created": 1, "model": model, "choices": [entry]}
    return row | ({"usage": usage} if kind == "chat.completion" else {})


async def _chunks(body: dict[str, Any], text: str) -> AsyncIterator[str]:
    kind = "chat.completion.chunk"
    for word in text.split(" "):
        delta = {"role": "assistant", "content": f"{word} "}
        yield f"data: {json.dumps(_completion(body['model'], {'delta': delta}, kind))}\n\n"
    last = _completion(body["model"], {"delta": {}, "finish_reason": "stop"}, kind)
    yield f"data: {json.dumps(last)}\n\n"
    if (body.get("stream_options") or {}).get("include_usage"):
        usage = {"prompt_tokens": 9, "completion_tokens": 6, "total_tokens": 15}
        yield f"data: {json.dumps(last | {'choices': [], 'usage': usage})}\n\n"
    yield "data: [DONE]\n\n"


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


async def _texts(websocket: WebSocket) -> AsyncIterator[dict[str, Any]]:
    try:
        while True:
            yield json.loads(await websocket.receive_text())
    except WebSocketDisconnect:
        return
