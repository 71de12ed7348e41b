"""The texts that people see when something was refused or failed, by the code of the error.

The messages of the other parts are for their operators. They may contain another's room, an address
inside the network, or what a bot has printed, so none of them goes to a browser.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import JSONResponse

from cordboard.contract.state import LIVE, TERMINAL
from cordboard.web.problems import MEDIA_TYPE, TYPE_PREFIX

_AGAIN: Final = "Try again in a moment."
_NEW_ID: Final = ("The ID of this call cannot be used.", "Press Join to call with a new one.")
_WORDS: Final[dict[str, tuple[str, str]]] = {
    "busy": ("All bots are busy.", _AGAIN),
    "conflict": ("The bot is not waiting for a connection now.", _AGAIN),
    "connected": (
        "Somebody is already connected to this call.",
        "Close other windows of this site.",
    ),
    "gateway_unreachable": ("The service cannot be reached.", _AGAIN),
    "invalid": ("The server did not understand the request.", "Reload this page and try again."),
    "not_found": ("You have no such session.", "Join again."),
    "not_holder": ("Another call is in this room.", "Join again."),
    "not_ready": ("The service is starting or stopping.", _AGAIN),
    "queue_full": ("All bots are busy.", _AGAIN),
    "runner_timeout": ("The bot's machine does not answer.", _AGAIN),
    "runner_unreachable": ("The bot's machine does not answer.", _AGAIN),
    "session_id_used": _NEW_ID,
    "session_in_use": _NEW_ID,
    "store_unavailable": ("The service is interrupted.", _AGAIN),
    "too_large": ("Too much was sent at once.", "Reload this page and try again."),
    "too_many_sessions": (
        "You, or other people in your network, have too many calls at the same time.",
        "End another call, or wait until one has ended.",
    ),
    "webrtc": ("The connection could not be established.", _AGAIN),
}
_REFUSED: Final = ("This was refused.", _AGAIN)
_FAILED: Final = ("Something went wrong on our side.", _AGAIN)
_SERVER_ERROR: Final = 500


def problem(
    status: int,
    code: str,
    headers: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> JSONResponse:
    """Return an error as a page shows it.

    Args:
        status: Its HTTP status.
        code: Its code; an unknown one gets a general text.
        headers: Headers of the answer.
        extra: Members that a page looks at.
    """
    detail, hint = _WORDS.get(code) or (_FAILED if status >= _SERVER_ERROR else _REFUSED)
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


def retold(status: int, content: bytes, headers: Mapping[str, str]) -> JSONResponse:
    """Return an error of the gateway with our own text; of its members, only the session's state."""
    try:
        told = json.loads(content)
    except (ValueError, RecursionError):
        told = None
    told = told if isinstance(told, dict) else {}
    code = told.get("code")
    if not isinstance(code, str) or code not in _WORDS:
        code = "failed" if status >= _SERVER_ERROR else "refused"
    state = told.get("status")
    extra = {"status": state} if isinstance(state, str) and state in LIVE | TERMINAL else {}
    return problem(status, code, headers, extra)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
