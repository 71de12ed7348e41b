"""What every HTTP client of a gateway or a runner shares: paths, the credential, errors.

These functions import nothing but small modules of the standard library, so that ``cordboard sessions`` can use
them without the start-up time of an asynchronous HTTP client.
"""

import json
from http import HTTPStatus
from typing import Final, NamedTuple
from urllib.parse import quote

from cordboard.contract.errors import (
    GATEWAY_AUTH_HINT,
    CordboardError,
    GatewayError,
    UnauthorizedError,
)
from cordboard.contract.urls import redacted_url

HEADER_STREAM_SILENCE: Final = "X-Stream-Silence-Ms"
"""In a bot's answer to the handshake of a call's later stream: milliseconds since its last message on the earlier one."""

HEADER_FROM_RUNNER: Final = "X-Refused-By-Runner"
"""In the answer to a request for a bot process: the runner has refused it, and the bot has not seen it."""


class Problem(NamedTuple):
    """An error of a component, from the body of its ``application/problem+json`` (RFC 9457).

    Attributes:
        type: The type; ``about:blank`` for an error that Cordboard did not make.
        code: The code of the error, such as ``busy``; empty if absent.
        detail: The message.
        hint: What to do about it; empty if absent.
    """

    type: str
    code: str
    detail: str
    hint: str


def session_path(session_id: str, call: str = "") -> str:
    """Return the path of a session at a gateway or a runner.

    Args:
        session_id: The session. Every character that could change the path is quoted.
        call: A call of this session, such as ``offer``.
    """
    path = f"/sessions/{quote(session_id, safe='')}"
    return f"{path}/{call}" if call else path


def bearer_headers(credential: str | None) -> dict[str, str]:
    """Return the header that carries ``credential``; no header without one."""
    return {"Authorization": f"Bearer {credential}"} if credential else {}


def read_problem(content: bytes) -> Problem | None:
    """Return the problem in the body of an answer; None if the body is not a problem.

    Args:
        content: The body, from any server.
    """
    try:
        body = json.loads(content)
        return Problem(
            type=str(body.get("type") or ""),
            code=str(body.get("code") or ""),
            detail=str(body["detail"]),
            hint=str(body.get("hint") or ""),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def gateway_refusal(url: str, status: int, content: bytes) -> CordboardError:
    """Return the error with which a gateway refused a command's request.

    Args:
        url: The URL of the gateway or of the request.
        status: The HTTP status of the answer.
        content: The body of the answer.
    """
    problem = read_problem(content)
    if problem is None:
        return CordboardError(f"The gateway answered HTTP {status}.")
    if problem.type == "about:blank":  # the server of another program, or a proxy's page
        return CordboardError(
            f"The server at {redacted_url(url)} answered: {problem.detail}.",
            hint="Is it a gateway? Use --gateway to name another one.",
        )
    if status == HTTPStatus.UNAUTHORIZED:
        return UnauthorizedError(problem.detail, hint=GATEWAY_AUTH_HINT)
    return CordboardError(problem.detail, hint=problem.hint)


def gateway_unreachable(url: str, reason: str) -> GatewayError:
    """Return the error for a gateway that a command cannot reach.

    Args:
        url: The URL of the gateway.
        reason: Why, in the words of the operating system.
    """
    return GatewayError(
        f"The gateway at {redacted_url(url)} cannot be reached: {reason}.",
        hint="Start one with `cordboard up`, or use --gateway URL to name another one.",
    )
