"""Errors over HTTP, all of them ``application/problem+json`` (RFC 9457)."""

import json
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from cordboard.context import current
from cordboard.context.carrier import HEADER_SESSION_ID
from cordboard.contract.errors import CordboardError, InvalidValueError
from cordboard.emit import get_logger

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:cordboard:problem:"
ERRORS_MAX: Final = 20
"""Errors that one response lists. A body of 64 KB can have thousands of wrong fields, and a response many
times the size of its request would help somebody who wants to load the server."""

log = get_logger("http")


class ProblemResponse(JSONResponse):
    """The response for an error. It may quote the request, including lone surrogates."""

    media_type = MEDIA_TYPE

    def render(self, content: Any) -> bytes:
        """Return `content` as JSON; a lone surrogate stays the escape as which it came."""
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "backslashreplace")


def problem(error: CordboardError) -> ProblemResponse:
    """Return the response for `error`, with the id of the session if there is one."""
    body: dict[str, Any] = {
        "type": TYPE_PREFIX + error.code,
        "title": error.title,
        "status": error.status,
        "code": error.code,
        "detail": error.message,
        **({"hint": error.hint} if error.hint else {}),
        **error.extra,
    }
    session_id = _session_of(error)
    headers = {HEADER_SESSION_ID: session_id} if session_id else {}
    # Also in the body: callers log it, and a header is easily lost on the way.
    if session_id:
        body.setdefault("sessionId", session_id)
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    return ProblemResponse(body, error.status, headers)


def add_problem_handlers(app: FastAPI) -> None:
    """Make `app` answer every error in this form."""
    app.add_exception_handler(CordboardError, _handle_cordboard_error)
    app.add_exception_handler(RequestValidationError, _handle_validation_error)
    app.add_exception_handler(HTTPException, _handle_http_error)
    app.add_exception_handler(ClientDisconnect, _handle_disconnect)
    app.add_exception_handler(Exception, _handle_unexpected_error)


def _session_of(error: CordboardError) -> str | None:
    session_id = error.extra.get("sessionId")
    return session_id if isinstance(session_id, str) else current().session_id


# Starlette's type of a handler takes any exception, hence the checks; it calls each handler only for the
# class under which it is registered.


async def _handle_cordboard_error(request: Request, error: Exception) -> ProblemResponse:
    if not isinstance(error, CordboardError):
        return await _handle_unexpected_error(request, error)
    return problem(error)


async def _handle_validation_error(request: Request, error: Exception) -> ProblemResponse:
    if not isinstance(error, RequestValidationError):
        return await _handle_unexpected_error(request, error)
    return invalid_request(error)


def invalid_request(error: RequestValidationError) -> ProblemResponse:
    """Return the response for a request that does not match its schema, with the session that is bound.

    Args:
        error: What is wrong with the request.
    """
    errors = [_field_error(item) for item in error.errors()[:ERRORS_MAX]]
    first = errors[0] if errors else {"field": "", "message": "invalid"}
    field, message = first["field"] or "body", first["message"]
    # A message of ours names the field.
    detail = message if field in message.split() else f"{field}: {message}"
    return problem(InvalidValueError(detail, extra={"errors": errors}))


def _field_error(item: dict[str, Any]) -> dict[str, str]:
    location = item["loc"][1:]  # without "body" or "query"
    if item["type"] == "json_invalid":  # the location is an offset in the text
        reason = item["ctx"]["error"]
        return {"field": "", "message": f"invalid JSON at character {location[0]}: {reason}"}
    return {"field": ".".join(str(part) for part in location), "message": item["msg"]}


async def _handle_http_error(request: Request, error: Exception) -> ProblemResponse:
    if not isinstance(error, HTTPException):
        return await _handle_unexpected_error(request, error)
    title = HTTPStatus(error.status_code).phrase
    return ProblemResponse(
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


async def _handle_disconnect(_request: Request, _error: Exception) -> Response:
    # Nobody receives this: the client has gone before its body was complete, which is no fault of the server.
    return Response(status_code=HTTPStatus.BAD_REQUEST)


async def _handle_unexpected_error(_request: Request, error: Exception) -> ProblemResponse:
    # The caller sees no text of the exception, which may contain secrets or paths.
    log.error("A request failed unexpectedly", error=error)
    return problem(CordboardError("The server failed to handle this request; see its log."))
