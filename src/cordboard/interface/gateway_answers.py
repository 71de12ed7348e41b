"""The gateway's answers, as the interface passes them on to a browser."""

from http import HTTPStatus

from starlette.responses import Response

from cordboard.context import current
from cordboard.context.carrier import HEADER_SESSION_ID
from cordboard.contract.errors import NotFoundError
from cordboard.interface import error_texts
from cordboard.web.http_client import Reply


def browser_response(reply: Reply) -> Response:
    """Return the gateway's answer in `reply` for the browser. Errors get the interface's own texts."""
    headers = {"Retry-After": reply.retry_after} if reply.retry_after else {}
    session_id = current().session_id
    if session_id:
        headers[HEADER_SESSION_ID] = session_id
    if reply.status >= HTTPStatus.BAD_REQUEST:
        return error_texts.from_gateway(reply.status, reply.content, headers)
    return Response(reply.content, reply.status, headers, reply.media_type)


def no_such_session() -> NotFoundError:
    """Return the error for a session that does not exist or belongs to another person."""
    return NotFoundError("No such call was found.", hint="Join again.")
