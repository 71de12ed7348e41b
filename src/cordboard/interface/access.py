"""Who may see and do what. Every route of the interface uses one of the decisions in this module.

A route takes the decision as the type of a parameter:

- `SignedIn`: everybody who is signed in.
- `Visitor`: the same for a page; others are sent to the login page first.
- `OperatorOnly`: operators.
- `SeenRecord`: what the person may see of the session in the path: a caller some members of the own record
  (``CALLER_MEMBERS``), an operator each record as a whole.
- `OwnRecord`: the record of the session in the path, which is the person's own one. Nobody else may speak
  in it, whatever the role.

A session that the person may not see does not exist for that person (404). The identity comes from the signed
login or from an authenticating proxy (``identity.py``), never from the content of a request.
``OPEN_PATHS`` lists the routes that everybody may use; a test compares both with all routes.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import Depends, Request

from cordboard.context import bound
from cordboard.context.carrier import HEADER_SESSION_ID
from cordboard.contract.errors import CordboardError, UnauthorizedError
from cordboard.contract.ids import is_session_id
from cordboard.interface.gateway_answers import no_such_session
from cordboard.interface.identity import person_of
from cordboard.interface.people import Person
from cordboard.interface.services import Services

OPEN_PATHS: Final = frozenset(
    {
        "/",
        "/favicon.ico",
        "/login",
        "/login/callback",
        "/login/start",
        "/logout",
        "/healthz",
        "/readyz",
        "/static",
    }
)
"""The paths that need no login."""

CALLER_MEMBERS: Final = (
    "sessionId", "room_url", "status", "reason", "epoch", "attempt", "createdAt", "stages", "bot", "userId",
    "userName",
)  # fmt: skip
"""The members of a session's record that a caller sees, on each page, in each event and in each answer.

The others are for operators: the text of an exception may hold secrets of the bot, and hashes, versions and the
names of runners tell how the service is built.
"""

METRICS_PATH: Final = "/metrics"
"""The path that needs the control secret or the scrape secret (``MetricsSecretMiddleware``)."""


class OperatorsOnlyError(CordboardError):
    """A caller has asked for something that only operators may see or do."""

    status = 403
    code = "operators_only"
    title = "For operators only"


class LoginRequiredError(UnauthorizedError):
    """A page needs a login; the person is sent to the login page, and from there to the page.

    Args:
        path: The path of the page, with its query.
    """

    def __init__(self, path: str) -> None:
        super().__init__("You are not signed in.", hint="Sign in again.")
        self.path = path


async def required_person(request: Request) -> Person:
    """Return the sender of `request`.

    Raises:
        UnauthorizedError: Nobody is signed in.
    """
    person = person_of(request)
    if person is None:
        raise UnauthorizedError("You are not signed in.", hint="Sign in again with your name.")
    return person


SignedIn = Annotated[Person, Depends(required_person)]
"""Everybody who is signed in."""


async def visitor(request: Request) -> Person:
    """Return the person who opens the page that `request` asks for.

    Raises:
        LoginRequiredError: Nobody is signed in.
    """
    person = person_of(request)
    if person is None:
        scope = request.scope
        query = scope["query_string"].decode("latin-1")
        path = scope["raw_path"].decode("latin-1")
        raise LoginRequiredError(f"{path}?{query}" if query else path)
    return person


Visitor = Annotated[Person, Depends(visitor)]
"""Everybody who is signed in, for pages."""


async def operator(person: Visitor) -> Person:
    """Return `person` if this is an operator.

    Raises:
        OperatorsOnlyError: It is a caller.
    """
    if not person.is_operator:
        raise OperatorsOnlyError(
            "Only operators may open this.",
            hint="If you operate this service, add yourself to CORDBOARD_INTERFACE_OPERATORS.",
        )
    return person


OperatorOnly = Annotated[Person, Depends(operator)]
"""Operators."""


def may_see(person: Person, record: dict[str, Any]) -> bool:
    """Return whether `person` may see the session of `record`; its log is for operators."""
    return person.is_operator or record.get("userId") == person.user_id


def seen_members(person: Person, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of `record`, of a session that `person` may see, which the person may see."""
    if person.is_operator:
        return dict(record)
    return {name: record[name] for name in CALLER_MEMBERS if name in record}


def listed_user(person: Person) -> str | None:
    """Return the user to whose sessions a list for `person` is limited; None for the sessions of all."""
    return None if person.is_operator else person.user_id


async def seen_record(session_id: str, services: Services, person: SignedIn) -> dict[str, Any]:
    """Return what `person` may see of the record of a session.

    Args:
        session_id: The session.
        services: The interface's services.
        person: The person.

    Raises:
        NotFoundError: There is no such session, or it is another's: the person does not learn which.
    """
    if not person.is_operator:
        return seen_members(person, await own_record(session_id, services, person))
    if not is_session_id(session_id):
        raise no_such_session()
    services.owners.count_read(person)
    # Without the session's id in the context: what an operator reads writes no line into its log.
    return await services.gateway.record(session_id)


async def own_record(session_id: str, services: Services, person: SignedIn) -> dict[str, Any]:
    """Return the record of a session of `person`.

    Args:
        session_id: The session.
        services: The interface's services.
        person: The person.

    Raises:
        NotFoundError: There is no such session, or it is another's: the person does not learn which.
    """
    if not is_session_id(session_id) or await services.owners.find(session_id, person) is None:
        raise no_such_session()
    with bound(session_id=session_id):
        record = await services.gateway.record(session_id)
    # The owner may be remembered from before the id had a record.
    if record.get("userId") != person.user_id:
        raise no_such_session()
    return record


def session_headers(person: Person, record: dict[str, Any]) -> dict[str, str]:
    """Return the headers of a response about a session: the id, by which the access line gets into its log.

    What an operator reads about the session of another person writes no line into it.

    Args:
        person: The person.
        record: The session's record.
    """
    is_own = record.get("userId") == person.user_id
    return {HEADER_SESSION_ID: record["sessionId"]} if is_own else {}


SeenRecord = Annotated[dict[str, Any], Depends(seen_record)]
"""What the person may see of the record of a session."""
OwnRecord = Annotated[dict[str, Any], Depends(own_record)]
"""The record of a session of the person."""


def login_path(path: str) -> str:
    """Return the path of the login page that leads to `path` afterwards."""
    return f"/login?{urlencode({'next': path})}"
