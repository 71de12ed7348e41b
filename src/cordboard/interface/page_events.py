"""Server-sent events of the pages."""

import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import Request

from cordboard.interface.access import session_headers
from cordboard.interface.people import Person
from cordboard.interface.services import InterfaceServices
from cordboard.web.event_stream import EventStream
from cordboard.web.proxies import client_address


def page_event(name: str, **data: Any) -> bytes:
    """Return an event of a page, named ``name``, with ``data`` as a JSON object."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def session_stream(
    events: AsyncIterator[bytes],
    request: Request,
    services: InterfaceServices,
    person: Person,
    record: dict[str, Any],
) -> EventStream:
    """Return a stream about a session; it counts as one of the person's streams.

    Args:
        events: The events.
        request: The request.
        services: The interface's services.
        person: The person.
        record: The session's record.
    """
    return EventStream(
        events,
        services.request_limits.streams.enter(person.user_id, client_address(request.scope)),
        session_headers(person, record),
    )
