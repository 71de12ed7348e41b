"""The records of speech, of services and of tools, from what Pipecat's observers report."""

import asyncio
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from cordboard.runner.call_log import CallLog, iso
from cordboard.runner.turn_log import TurnLog

RECOVERED_S: Final = 1.0
"""Seconds after which an error that has not left its pipeline counts as dealt with. To leave it takes milliseconds."""

PENDING_MAX: Final = 100
"""Errors that wait for this at once. More are logged at once: a service that fails that often has not recovered."""

_SPEECH: Final[Mapping[str, tuple[str, str]]] = {
    "user_speech_started": ("speech.started", "user"),
    "user_speech_stopped": ("speech.ended", "user"),
    "bot_speech_started": ("speech.started", "bot"),
    "bot_speech_stopped": ("speech.ended", "bot"),
}
_TOOL_ENDS: Final[Mapping[str, str]] = {
    "function_call_completed": "completed",
    "function_call_failed": "error",
    "function_call_timed_out": "timeout",
    "function_call_cancelled": "cancelled",
}
_CATEGORIES: Final[Mapping[str, str]] = {
    "authentication": "authentication",
    "authorization": "authentication",
    "rate_limit": "rate_limit",
    "quota": "rate_limit",
    "connectivity": "connection",
    "server": "server",
    "invalid_request": "request",
}

# The names of exceptions in the SDKs of OpenAI, Anthropic and others that are generated alike.
_EXCEPTIONS: Final[Mapping[str, str]] = {
    "Authentication": "authentication",
    "PermissionDenied": "authentication",
    "RateLimit": "rate_limit",
    "InternalServer": "server",
    "Connection": "connection",
    "BadRequest": "request",
    "NotFound": "request",
    "UnprocessableEntity": "request",
}

# How the text of an error names the HTTP status: SDKs of OpenAI's kind, websockets, httpx, aiohttp, and Pipecat itself.
# Of 137 errors that the services of Pipecat 1.14 report, 127 have a text only.
_STATUS: Final = re.compile(
    r"(?:\bError code: |\bHTTP |\berror '|\bstatus: |\berror \()([45]\d\d)\b|\b([45]\d\d), message='",
    re.IGNORECASE,
)
# What a service quotes of its input comes behind the status.
_STATUS_WITHIN: Final = 120
# As Pipecat classifies the status of an exception.
_OF_STATUS: Final[Mapping[int, str]] = {
    401: "authentication",
    402: "rate_limit",
    403: "authentication",
    429: "rate_limit",
    400: "request",
    404: "request",
    422: "request",
}


class ServiceRecords:
    """Writes what services and tools do, and who speaks.

    Args:
        call_log: Where records go.
    """

    def __init__(self, call_log: CallLog) -> None:
        self._log = call_log

    async def on_usage(self, _observer: Any, usage: Any) -> None:
        """Write what a service has consumed since its last report."""
        self._log.write(
            "Service used",
            "service.usage",
            processor=usage.processor,
            model=usage.model,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            cache_read_tokens=usage.cache_read_input_tokens,
            characters=usage.characters,
            audio_s=usage.audio_seconds,
        )

    async def on_speech(self, _observer: Any, moment: Any) -> None:
        """Write who begins or stops to speak; what the pipeline makes of it are turns."""
        known = _SPEECH.get(str(moment.kind))
        if known is None:
            return
        event, who = known
        began_at = moment.started_at
        self._log.write(
            "Speech began" if event == "speech.started" else "Speech ended",
            event,
            who=who,
            at=iso(moment.timestamp),
            ms=None if began_at is None else round((moment.timestamp - began_at) * 1000),
        )

    async def on_tool(self, _observer: Any, moment: Any) -> None:
        """Write the beginning or the end of a tool's call."""
        kind = str(moment.kind)
        facts = {"name": moment.function_name, "call_id": moment.tool_call_id}
        if kind == "function_call_started":
            self._log.write("Tool called", "tool.started", **facts, arguments=moment.arguments)
        elif kind in _TOOL_ENDS:
            began_at, status = moment.in_progress_at, _TOOL_ENDS[kind]
            self._log.write(
                "Tool ended",
                "tool.ended",
                is_bad=status in {"error", "timeout"},
                **facts,
                status=status,
                ms=None if began_at is None else round((moment.timestamp - began_at) * 1000),
                result=moment.result,
                text=moment.error,
            )


@dataclass(slots=True)
class _Failure:
    """An error that is known, and whose end is not yet."""

    frame_id: int
    report: Any = None
    has_surfaced: bool = False
    timer: asyncio.TimerHandle | None = field(default=None, repr=False)


class ErrorRecords:
    """Writes the errors of services, each once it is known whether the pipeline deals with it.

    Args:
        call_log: Where records go.
        turns: Learns that the bot failed in this turn.
    """

    def __init__(self, call_log: CallLog, turns: TurnLog) -> None:
        self._log = call_log
        self._turns = turns
        self._unreported: deque[_Failure] = deque(maxlen=PENDING_MAX)
        self._pending: dict[int, _Failure] = {}

    def note(self, frame_id: int) -> None:
        """Note an error's frame; the observer reports errors in the same order."""
        self._unreported.append(_Failure(frame_id))

    async def on_error(self, _observer: Any, report: Any) -> None:
        """Write an error as soon as it leaves its pipeline; otherwise after a while, as dealt with."""
        failure = self._unreported.popleft() if self._unreported else _Failure(0)
        failure.report = report
        if failure.has_surfaced or len(self._pending) >= PENDING_MAX:
            self._write(failure)
            return
        self._pending[failure.frame_id] = failure
        loop = asyncio.get_running_loop()
        failure.timer = loop.call_later(RECOVERED_S, self._settle, failure.frame_id)

    async def on_pipeline_error(self, _worker: Any, frame: Any) -> None:
        """Take note that an error has left its pipeline: nothing in it has dealt with it."""
        self._turns.has_failed = True
        failure = self._pending.get(frame.id)
        if failure is None:
            failure = next((one for one in self._unreported if one.frame_id == frame.id), None)
        if failure is not None:
            failure.has_surfaced = True
            self._settle(frame.id)

    def flush(self) -> None:
        """Write the errors that still wait, as the pipeline ends."""
        for frame_id in [*self._pending]:
            self._settle(frame_id)

    def _settle(self, frame_id: int) -> None:
        failure = self._pending.pop(frame_id, None)
        if failure is not None:
            if failure.timer is not None:
                failure.timer.cancel()
            self._write(failure)

    def _write(self, failure: _Failure) -> None:
        report = failure.report
        self._log.write(
            "Service failed",
            "service.error",
            is_bad=True,
            category=_category(report),
            processor=report.processor,
            usable=report.processor_usable,
            recovered=not failure.has_surfaced,
            at=iso(report.timestamp),
            text=report.message,
        )


def _category(report: Any) -> str:
    """Return the category of an error by Pipecat's; where Pipecat has none, by its exception, or the status in its text.

    Pipecat has no category for a timeout. It has none either for what a service raises while it processes a frame.
    """
    known = _CATEGORIES.get(str(report.category.value), "other")
    name = report.exception_type or ""
    if "timeout" in name.lower() and known in {"connection", "other"}:
        return "timeout"
    if known != "other":
        return known
    if name:
        return next((kind for word, kind in _EXCEPTIONS.items() if word in name), "other")
    return _category_of_text(str(report.message)) if report.category.value == "unknown" else "other"


def _category_of_text(text: str) -> str:
    """Return the category of an error of which nothing but a text is known."""
    found = _STATUS.search(text[:_STATUS_WITHIN])
    if found is None:
        return "other"
    status = int(found[1] or found[2])
    return (
        "server" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else _OF_STATUS.get(status, "other")
    )
