"""Requests that do not match their schema: the answer names the session, and a join is logged as refused."""

from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError

from cordboard.context import adopt
from cordboard.contract.errors import InvalidValueError
from cordboard.contract.ids import is_session_id
from cordboard.emit import get_logger
from cordboard.gateway import metrics
from cordboard.web import problems

_JOIN_PATHS: Final = frozenset({"/join", "/start"})

log = get_logger("gateway")


def add_refusals(app: FastAPI) -> None:
    """Make `app`, the gateway, answer and log invalid requests.

    Callers of the gateway are trusted, so the session that an invalid body names counts as that of the
    request: whoever looks for the session finds the line.
    """
    app.add_exception_handler(RequestValidationError, _refuse)


async def _refuse(request: Request, error: Exception) -> problems.ProblemResponse:
    if not isinstance(error, RequestValidationError):  # it never is
        raise error
    session_id = error.body.get("sessionId") if isinstance(error.body, dict) else None
    if is_session_id(session_id):
        adopt(session_id=session_id)
    if request.scope["path"] in _JOIN_PATHS:
        reason = InvalidValueError.code
        metrics.joins.labels(reason).inc()
        log.warning("Join refused", event="join.refused", reason=reason)
    return problems.invalid_request(error)
