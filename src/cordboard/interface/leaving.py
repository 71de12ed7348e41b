"""Ending a session for a person who may: its user, or an operator."""

from collections.abc import Mapping
from typing import Any

import msgspec

from cordboard.context import bound
from cordboard.emit import get_logger
from cordboard.interface.people import Person
from cordboard.interface.services import InterfaceServices
from cordboard.web.http_client import Reply

log = get_logger("interface")


async def end_session(
    services: InterfaceServices, session_id: str, person: Person, record: Mapping[str, Any]
) -> Reply:
    """Ask the gateway to end a session; return its answer.

    Args:
        services: The interface's services.
        session_id: The session.
        person: The person, who may see it.
        record: The session's record.
    """
    body = {"sessionId": session_id}
    with bound(session_id=session_id):
        if record.get("userId") != person.user_id:
            body["detail"] = "ended by an operator"
            log.warning("An operator ends the session", operator=person.user_id)
        return await services.gateway.ask("POST", "/leave", msgspec.json.encode(body))
