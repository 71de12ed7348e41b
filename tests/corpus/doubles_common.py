"""What the doubles of all vendors share: the key, the texts, the voice, and the record of what they were asked for."""

import contextlib
import json
import math
from array import array
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

KEY = "sk-of-the-doubles"
GREETING = "Hello, I am glad that you called."
ANSWER = "The capital of Germany is Berlin."
QUESTION = "What is the capital of Germany?"
LOUD = 500  # of 32767: above the rounding of mu-law silence, below a whisper
SPEECH_S = 0.3


def reply_to(messages: Any) -> str:
    """Return what a language model says: the answer where Germany was named, else the greeting."""
    return ANSWER if "Germany" in json.dumps(messages) else GREETING


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

    @property
    def has_begun(self) -> bool:
        """Whether an utterance has begun, and has not ended."""
        return self.heard_s >= SPEECH_S

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
class Record:
    """What the doubles were asked for.

    Attributes:
        requests: How often each service was called or connected to.
        conversations: The messages that a language model got, one list a request.
        faults: Each refusal.
        utterances: How often a service transcribed, or answered, what a caller said.
    """

    requests: Counter[str] = field(default_factory=Counter)
    conversations: list[list[dict[str, Any]]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    utterances: int = 0

    def heard(self) -> str:
        """Count an utterance; return its transcript, which is always the question."""
        self.utterances += 1
        return QUESTION

    def refuse(self, what: str, status: int = 400) -> JSONResponse:
        """Answer with an error of OpenAI's form, and keep it."""
        self.faults.append(what)
        return JSONResponse({"error": {"message": what, "type": "invalid_request_error"}}, status)

    async def accepted(self, websocket: WebSocket, is_allowed: bool) -> bool:
        """Accept a connection, or refuse it and keep that; return which."""
        if not is_allowed:
            self.faults.append(
                f"{websocket.url.path}: wrong key, or parameters missing: {websocket.url.query}"
            )
            await websocket.close()  # before acceptance: 403
            return False
        await websocket.accept()
        return True


def socket_route(path: str, hold: Callable[[WebSocket], Awaitable[None]]) -> WebSocketRoute:
    """Return a route whose connections `hold` holds; the client may leave while it is being answered."""

    async def connect(websocket: WebSocket) -> None:
        with contextlib.suppress(WebSocketDisconnect):
            await hold(websocket)

    return WebSocketRoute(path, connect)


async def json_messages(websocket: WebSocket) -> AsyncIterator[dict[str, Any]]:
    """Yield each JSON message of a connection until it closes."""
    try:
        while True:
            yield json.loads(await websocket.receive_text())
    except WebSocketDisconnect:
        return
