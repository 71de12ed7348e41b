"""The texts that people see when a request was refused or failed, by the code of the error.

The messages of other components are for their operators. They may contain another person's room, an
internal address, or output of a bot, so none of them goes to a browser.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import JSONResponse

from cordboard.contract.state import LIVE, TERMINAL
from cordboard.web.problems import MEDIA_TYPE, TYPE_PREFIX

_AGAIN: Final = "Try again in a moment."
_NEW_ID: Final = ("This call's ID cannot be used.", "Press Join to call with a new one.")
TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "busy": ("All bots are busy.", _AGAIN),
    "conflict": ("The bot is not ready for a connection.", _AGAIN),
    "connected": (
        "This call is already connected in another window.",
        "Close the other windows of this site.",
    ),
    "gateway_unreachable": ("The service cannot be reached.", _AGAIN),
    "invalid": ("The server did not understand the request.", "Reload this page and try again."),
    "not_found": ("No such call was found.", "Join again."),
    "not_holder": ("Another call is in this room.", "Join again."),
    "not_ready": ("The service is starting or stopping.", _AGAIN),
    "queue_full": ("All bots are busy.", _AGAIN),
    "runner_timeout": ("The bot's machine is not responding.", _AGAIN),
    "runner_unreachable": ("The bot's machine is not responding.", _AGAIN),
    "session_id_used": _NEW_ID,
    "session_in_use": _NEW_ID,
    "store_unavailable": ("The service is temporarily unavailable.", _AGAIN),
    "too_large": ("The page sent too much data at once.", "Reload this page and try again."),
    "too_many_sessions": (
        "You, or other people on your network, have too many calls at the same time.",
        "End another call, or wait until one has ended.",
    ),
    "webrtc": ("The connection could not be established.", _AGAIN),
}
"""The message and the hint for each code."""
REFUSED: Final = ("The request was refused.", _AGAIN)
FAILED: Final = ("Something went wrong on our side.", _AGAIN)


def error_response(
    status: int,
    code: str,
    headers: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> JSONResponse:
    """Return the response for an error, with a text for people.

    Args:
        status: The HTTP status.
        code: The error's code; an unknown one gets a general text.
        headers: The headers of the response.
        extra: Additional members of the problem, which the page reads.
    """
    is_server_error = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    detail, hint = TEXTS.get(code) or (FAILED if is_server_error else REFUSED)
    body = {
        "type": TYPE_PREFIX + code,
        "title": _phrase(status),
        "status": status,
        "code": code,
        "detail": detail,
        "hint": hint,
        **(extra or {}),
    }
    return JSONResponse(body, status, dict(headers or {}), MEDIA_TYPE)


def from_gateway(status: int, content: bytes, headers: Mapping[str, str]) -> JSONResponse:
    """Return an error of the gateway with a text for people.

    Of the gateway's own members only the state of the session is kept.

    Args:
        status: The HTTP status.
        content: The body of the gateway's response.
        headers: The headers of the new response.
    """
    try:
        problem = json.loads(content)
    except (ValueError, RecursionError):
        problem = None
    problem = problem if isinstance(problem, dict) else {}
    code = problem.get("code")
    # An unknown code is replaced, too: only codes of this table are known to contain nothing else.
    if not isinstance(code, str) or code not in TEXTS:
        code = "failed" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "refused"
    state = problem.get("status")
    extra = {"status": state} if isinstance(state, str) and state in LIVE | TERMINAL else {}
    return error_response(status, code, headers, extra)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:  # a proxy in front of the gateway may use its own statuses
        return "Error"
