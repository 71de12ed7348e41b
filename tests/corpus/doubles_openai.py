"""A double of OpenAI's chat, speech and transcription.

Source: platform.openai.com/docs/api-reference (chat, audio).
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from corpus.doubles_common import KEY, Record, reply_to, tone

OPENAI_HZ = 24_000  # the only rate of its format "pcm"


def has_openai_key(connection: HTTPConnection) -> bool:
    """Return whether a request has the key."""
    return connection.headers.get("authorization") == f"Bearer {KEY}"


@dataclass
class OpenAI:
    """The services that are one request each."""

    record: Record

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/v1/audio/speech", self.speech, methods=["POST"]),
            Route("/v1/audio/transcriptions", self.transcription, methods=["POST"]),
        ]

    async def chat(self, request: Request) -> Response:
        """Stream a completion: the answer where Germany was named, else the greeting."""
        self.record.requests["openai chat"] += 1
        if not has_openai_key(request):
            return self.record.refuse("chat: wrong key", 401)
        body = await request.json()
        messages = body.get("messages")
        roles = {"system", "developer", "user", "assistant", "tool"}
        if not body.get("model") or not messages or {m["role"] for m in messages} - roles:
            return self.record.refuse(f"chat: no model, no messages or an unknown role: {body}")
        self.record.conversations.append(messages)
        text = reply_to(messages)
        if not body.get("stream"):
            return JSONResponse(
                _completion(body["model"], {"message": {"role": "assistant", "content": text}})
            )
        return StreamingResponse(_chunks(body, text), media_type="text/event-stream")

    async def speech(self, request: Request) -> Response:
        """Speak a text as PCM."""
        self.record.requests["openai speech"] += 1
        if not has_openai_key(request):
            return self.record.refuse("speech: wrong key", 401)
        body = await request.json()
        if not body.get("input") or not body.get("voice") or body.get("response_format") != "pcm":
            return self.record.refuse(f"speech: no input, no voice or not pcm: {body}")
        return Response(tone(OPENAI_HZ), media_type="audio/pcm")

    async def transcription(self, request: Request) -> Response:
        """Transcribe a WAV file: it is always the question."""
        self.record.requests["openai transcription"] += 1
        if not has_openai_key(request):
            return self.record.refuse("transcription: wrong key", 401)
        form = await request.form()
        file = form.get("file")
        head = b"" if file is None or isinstance(file, str) else await file.read(4)
        if not form.get("model") or head != b"RIFF":
            return self.record.refuse(f"transcription: no model or no WAV file: {list(form)}")
        return JSONResponse({"text": self.record.heard()})


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
