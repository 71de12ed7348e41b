"""The gateway's answers, as the edge passes them on to a client."""

from starlette.responses import Response

from cordboard.context import current
from cordboard.context.carrier import HEADER_SESSION_ID
from cordboard.web.http_client import Reply


def gateway_response(reply: Reply) -> Response:
    """Return an answer of the gateway for a client, unchanged.

    Args:
        reply: The answer. Its errors have a ``detail``, which Pipecat's clients show.
    """
    headers = {"Retry-After": reply.retry_after} if reply.retry_after else {}
    session_id = current().session_id
    if session_id:
        headers[HEADER_SESSION_ID] = session_id
    return Response(reply.content, reply.status, headers, reply.media_type)
