"""Errors over HTTP: every one is ``application/problem+json`` (RFC 9457)."""

import json
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from cordboard.context import current
from cordboard.context.carrier import HEADER_SESSION_ID
from cordboard.contract.errors import CordboardError
from cordboard.emit import get_logger

MEDIA_TYPE: Final = "application/problem+json"
ERRORS_MAX: Final = 20  # told of one body; a body of 64 KB may have thousands
TYPE_PREFIX: Final = "urn:cordboard:problem:"

log = get_logger("http")


class Problem(JSONResponse):
    """An error's answer; what a caller sent may be in it, half characters too."""

    media_type = MEDIA_TYPE

    def render(self, content: Any) -> bytes:
        """Return JSON; half a character becomes the escape that it came as."""
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "backslashreplace")


def problem(error: CordboardError) -> Problem:
    """Return the answer that tells of an error of ours, with the session's id where one is known."""
    body: dict[str, Any] = {
        "type": TYPE_PREFIX + error.code,
        "title": error.title,
        "status": error.status,
        "code": error.code,
        "detail": error.message,
        **({"hint": error.hint} if error.hint else {}),
        **error.extra,
    }
    session_id = _known_session(error)
    headers = {HEADER_SESSION_ID: session_id} if session_id else {}
    if session_id:
        body.setdefault("sessionId", session_id)
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    return Problem(body, error.status, headers)


def add_problem_handlers(app: FastAPI) -> None:
    """Make an application tell every error in this form."""
    app.add_exception_handler(CordboardError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unforeseen)


def _known_session(error: CordboardError) -> str | None:
    named = error.extra.get("sessionId")
    return named if isinstance(named, str) else current().session_id


async def _ours(_request: Request, error: Exception) -> Problem:
    assert isinstance(error, CordboardError)  # noqa: S101 - registered for this class
    return problem(error)


async def _invalid(_request: Request, error: Exception) -> Problem:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class
    errors = [_field_error(item) for item in error.errors()[:ERRORS_MAX]]
    first = errors[0] if errors else {"field": "", "message": "invalid"}
    field, message = first["field"] or "body", first["message"]
    return Problem(
        {
            "type": TYPE_PREFIX + "invalid",
            "title": "Invalid value",
            "status": 422,
            "code": "invalid",
            "detail": message if message.startswith(f"{field} ") else f"{field}: {message}",
            "errors": errors,
        },
        422,
    )


def _field_error(item: dict[str, Any]) -> dict[str, str]:
    place = item["loc"][1:]
    if item["type"] == "json_invalid":  # its place is a number of letters
        return {"field": "", "message": f"not JSON: {item['ctx']['error']}, at letter {place[0]}"}
    return {"field": ".".join(str(part) for part in place), "message": item["msg"]}


async def _http(_request: Request, error: Exception) -> Problem:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class
    title = HTTPStatus(error.status_code).phrase
    return Problem(
        {
            "type": "about:blank",
            "title": title,
            "status": error.status_code,
            "code": title.lower().replace(" ", "_"),
            "detail": str(error.detail),
        },
        error.status_code,
        error.headers,
    )


async def _unforeseen(_request: Request, error: Exception) -> Problem:
    log.error("A request failed for a reason that nobody foresaw", error=error)
    return problem(CordboardError("Something went wrong on our side; the log says what."))
