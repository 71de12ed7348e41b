"""A double of OpenAI's Responses API, over HTTP and over a WebSocket.

Source: platform.openai.com/docs/api-reference (responses, streaming events), and its guide to the WebSocket mode.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from corpus.doubles_common import Record, json_messages, reply_to, socket_route
from corpus.doubles_openai import has_openai_key

# The API answers 400 "Unknown parameter" to any other.
PARAMETERS = {
    *("background", "conversation", "include", "input", "instructions", "max_output_tokens"),
    *("max_tool_calls", "metadata", "model", "parallel_tool_calls", "previous_response_id"),
    *("prompt", "prompt_cache_key", "prompt_cache_retention", "reasoning", "safety_identifier"),
    *("service_tier", "store", "stream", "stream_options", "temperature", "text", "tool_choice"),
    *("tools", "top_logprobs", "top_p", "truncation", "user"),
}
INPUT_PARTS = {"input_text", "input_image", "input_file"}
PARTS = {
    "system": INPUT_PARTS,
    "developer": INPUT_PARTS,
    "user": INPUT_PARTS,
    "assistant": {"output_text", "refusal"},
}
# What each kind of item must have, beside its type.
ITEMS = {
    "message": {"role", "content"},
    "function_call": {"call_id", "name", "arguments"},
    "function_call_output": {"call_id", "output"},
    "reasoning": {"id", "summary"},
}


@dataclass
class Responses:
    """The service; a response over HTTP is not stored, one over a WebSocket is known to its connection."""

    record: Record
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def routes(self) -> list[Route | WebSocketRoute]:
        """Return the routes."""
        return [
            Route("/v1/responses", self.create, methods=["POST"]),
            socket_route("/v1/responses", self.connect),
        ]

    async def create(self, request: Request) -> Response:
        """Answer one request, at once or as a stream of events."""
        self.record.requests["openai responses"] += 1
        if not has_openai_key(request):
            return self.record.refuse("responses: wrong key", 401)
        body = await request.json()
        if fault := fault_of(body, {}):
            return self.record.refuse(f"responses: {fault}")
        items = items_of(body)
        self.record.conversations.append(items)
        events = list(self._events(body, items))
        if not body.get("stream"):
            return JSONResponse(events[-1]["response"])
        lines = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events]
        return StreamingResponse(iter(lines), media_type="text/event-stream")

    async def connect(self, websocket: WebSocket) -> None:
        """Answer each ``response.create``; a later one may continue an earlier one."""
        self.record.requests["openai responses websocket"] += 1
        if not await self.record.accepted(websocket, has_openai_key(websocket)):
            return
        known: dict[str, list[dict[str, Any]]] = {}
        async for message in json_messages(websocket):
            kind = message.pop("type", None)
            if kind == "response.cancel" and message.get("response_id") in known:
                continue  # it has ended: all its events are on their way
            if kind != "response.create":
                self.record.faults.append(f"responses: {kind} {message}: unknown")
            elif fault := fault_of(message, known):
                self.record.faults.append(f"responses: {fault}")
                code = "previous_response_not_found" if "not found" in fault else None
                error = {"type": "invalid_request_error", "code": code, "message": fault}
                await websocket.send_json({"type": "error", "status": 400, "error": error})
            else:
                await self._respond(websocket, message, known)

    async def _respond(
        self, websocket: WebSocket, body: dict[str, Any], known: dict[str, list[dict[str, Any]]]
    ) -> None:
        items = known.get(body.get("previous_response_id", ""), []) + items_of(body)
        self.record.conversations.append(items)
        for event in self._events(body, items):
            await websocket.send_json(event)
        response = event["response"]
        known[response["id"]] = items + response["output"]

    def _events(
        self, body: dict[str, Any], items: list[dict[str, Any]]
    ) -> Iterator[dict[str, Any]]:
        number = next(self.numbers)
        for sequence, event in enumerate(response_events(body, reply_to(items), number)):
            yield event | {"sequence_number": sequence}


def items_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the input of a request as items."""
    given = body["input"]
    return [{"role": "user", "content": given}] if isinstance(given, str) else list(given)


def fault_of(body: dict[str, Any], known: dict[str, list[dict[str, Any]]]) -> str:
    """Return what the API refuses in a request, or nothing; `known` holds the responses to continue."""
    if not body.get("model") or not isinstance(body.get("input"), str | list):
        return f"no model, or no input: {body}"
    previous = body.get("previous_response_id")
    if previous is not None and previous not in known:
        return f"previous response {previous} not found"
    items = items_of(body)
    return (
        _fault_of_parameters(body)
        or next(filter(None, map(_fault_of_item, items)), "")
        or _fault_of_calls(known.get(previous or "", []) + items)
    )


def _fault_of_parameters(body: dict[str, Any]) -> str:
    if unknown := set(body) - PARAMETERS:
        return f"unknown parameters {sorted(unknown)}"
    if not body["input"] and not body.get("previous_response_id"):
        return "empty input"
    if not 0 <= body.get("temperature", 1) <= 2:
        return f"temperature {body['temperature']} is not in 0 to 2"
    named = {"function", "custom"}
    bad = [one for one in body.get("tools", ()) if one["type"] in named and "name" not in one]
    return f"functions without a name: {bad}" if bad else ""


def _fault_of_item(item: dict[str, Any]) -> str:
    kind = item.get("type", "message")
    if kind not in ITEMS or not ITEMS[kind] <= set(item):
        return f"an item of an unknown type, or without {sorted(ITEMS.get(kind, ()))}: {item}"
    if kind != "message" or isinstance(item["content"], str):
        return "" if kind != "message" or item["role"] in PARTS else f"unknown role: {item}"
    parts = {part.get("type") for part in item["content"]}
    allowed = PARTS.get(item["role"], set())
    return "" if parts <= allowed else f"parts {parts} in a message of {item['role']}"


def _fault_of_calls(items: list[dict[str, Any]]) -> str:
    """The API refuses an output without its call, and a call without its output."""
    calls, outputs = (
        {item["call_id"] for item in items if item.get("type") == kind}
        for kind in ("function_call", "function_call_output")
    )
    return f"calls {calls} and outputs {outputs} do not match" if calls != outputs else ""


def response_events(body: dict[str, Any], text: str, number: int) -> Iterator[dict[str, Any]]:
    """Yield the events of a response that is one message, without their sequence numbers."""
    response = _response(body, number)
    item = {"id": f"msg_{number}", "type": "message", "role": "assistant", "content": []}
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    done = item | {"status": "completed", "content": [part]}
    usage = {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 6,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 15,
    }
    yield {"type": "response.created", "response": response}
    yield {"type": "response.in_progress", "response": response}
    added = item | {"status": "in_progress"}
    yield {"type": "response.output_item.added", "output_index": 0, "item": added}
    yield {"type": "response.content_part.added", **place, "part": part | {"text": ""}}
    for before, word in enumerate(text.split(" ")):
        delta = f" {word}" if before else word
        yield {"type": "response.output_text.delta", **place, "delta": delta, "logprobs": []}
    yield {"type": "response.output_text.done", **place, "text": text, "logprobs": []}
    yield {"type": "response.content_part.done", **place, "part": part}
    yield {"type": "response.output_item.done", "output_index": 0, "item": done}
    ended = response | {"status": "completed", "output": [done], "usage": usage}
    yield {"type": "response.completed", "response": ended}


def _response(body: dict[str, Any], number: int) -> dict[str, Any]:
    return {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": 1,
        "status": "in_progress",
        "model": body["model"],
        "output": [],
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "metadata": {},
        "parallel_tool_calls": True,
        "previous_response_id": body.get("previous_response_id"),
        "temperature": body.get("temperature", 1.0),
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools", []),
        "top_p": body.get("top_p", 1.0),
        "usage": None,
    }
