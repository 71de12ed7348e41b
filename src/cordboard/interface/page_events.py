"""Server-sent events of the pages."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from fastapi import Request

from cordboard.interface.access import session_headers
from cordboard.interface.login_watch import LoginWatch
from cordboard.interface.people import Person
from cordboard.interface.services import InterfaceServices
from cordboard.web.event_stream import EventStream
from cordboard.web.proxies import client_address

SIGNED_OUT_WORDS: Final = "You are no longer signed in. Sign in again, and open this page again."


def page_event(name: str, **data: Any) -> bytes:
    """Return an event of a page, named ``name``, with ``data`` as a JSON object."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


_SIGNED_OUT: Final = page_event("problem", text=SIGNED_OUT_WORDS) + page_event("end")


def session_stream(
    make: Callable[[asyncio.Event], AsyncIterator[bytes]],
    request: Request,
    services: InterfaceServices,
    person: Person,
    record: dict[str, Any],
    *,
    needs_fresh: bool = True,
) -> EventStream:
    """Return a stream about a session, while the person is signed in; it counts as one of the person's streams.

    Args:
        make: Returns the events, which end when the event that it gets is set.
        request: The request.
        services: The interface's services.
        person: The person.
        record: The session's record.
        needs_fresh: Whether the stream also ends when the login ends by itself.
    """
    watch = LoginWatch(request, person, services.stopping, needs_fresh=needs_fresh)
    return EventStream(
        watch.events(make, _SIGNED_OUT),
        services.request_limits.streams.enter(person.user_id, client_address(request.scope)),
        session_headers(person, record),
    )
