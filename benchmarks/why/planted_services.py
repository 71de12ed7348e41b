"""The doubles of OpenAI's services, with delays and errors for each session: ``/SESSION/v1/...``."""

import asyncio
import contextlib
import json
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, StreamingResponse
from why.evidence import Evidence

Message = MutableMapping[str, Any]
App = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]

SERVICES = {
    "/v1/audio/transcriptions": "speech",
    "/v1/chat/completions": "language",
    "/v1/audio/speech": "voice",
}
ERRORS = {
    401: {
        "message": "Incorrect API key provided.",
        "type": "invalid_request_error",
        "code": "invalid_api_key",
    },
    429: {"message": "Rate limit reached.", "type": "requests", "code": "rate_limit_exceeded"},
    500: {"message": "The server had an error.", "type": "server_error", "code": None},
    503: {"message": "The engine is overloaded.", "type": "server_error", "code": None},
}


@dataclass
class PlantedServices:
    """An ASGI application in front of the doubles.

    Attributes:
        app: The doubles.
        plans: What is planted, by session: ``delays`` and ``errors`` by service, ``tool``, ``bot``.
        evidence: What was asked, and what bots said that they do, by session.
    """

    app: App
    plans: dict[str, dict[str, Any]] = field(default_factory=dict)
    seen: Counter[tuple[str, str]] = field(default_factory=Counter)
    evidence: dict[str, Evidence] = field(default_factory=lambda: defaultdict(Evidence))

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answer a request of one session."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        session, _, rest = scope["path"].removeprefix("/").partition("/")
        path, plan = f"/{rest}", self.plans.get(session, {})
        if path == "/plan":
            await JSONResponse(plan)(scope, receive, send)
            return
        if path.startswith("/did/"):
            self.evidence[session].did.append(path.removeprefix("/did/"))
            await JSONResponse({})(scope, receive, send)
            return
        service = SERVICES.get(path, "")
        asked = {"service": service, "asked": time.time(), "answered": 0.0, "status": 200}
        self.evidence[session].requests.append(asked)
        self.seen[session, service] += 1
        number = self.seen[session, service]
        await asyncio.sleep(plan.get("delays", {}).get(service, 0.0))
        asked["answered"] = time.time()
        status = plan.get("errors", {}).get(service)
        if status is not None and number >= plan.get("from", 1):
            asked["status"] = status
            answer: Any = JSONResponse(
                {"error": ERRORS[status]}, status, headers={"x-should-retry": "false"}
            )
            await answer(scope, receive, send)
        elif plan.get("tool") and service == "language" and number == 2:
            answer = StreamingResponse(_tool_call(), media_type="text/event-stream")
            await answer(scope, receive, send)
        else:
            with contextlib.suppress(ClientDisconnect):  # the bot has ended
                await self.app({**scope, "path": path, "raw_path": path.encode()}, receive, send)


async def _tool_call() -> Any:
    function = {"name": "lookup_order", "arguments": '{"order": "4711"}'}
    call = {"index": 0, "id": "call_1", "type": "function", "function": function}
    for delta, reason in (({"role": "assistant", "tool_calls": [call]}, None), ({}, "tool_calls")):
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        row = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt"}
        yield f"data: {json.dumps(row | {'choices': [choice]})}\n\n"
    yield "data: [DONE]\n\n"
